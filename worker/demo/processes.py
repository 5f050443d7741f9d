"""The demo's processes: each in a group of its own, its output in a file, none left behind.

Nothing here ends a process by name: a group is signalled by the id of the process that leads it.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from worker.domain.errors import StockbellError
from worker.processes.stop import Stop

T = TypeVar("T")

PROCFILE: Final = Path(__file__).resolve().parents[2] / "Procfile"
LINES_SHOWN: Final = 8
PATIENCE_SECONDS: Final = 15.0
"""How long a group may take to end once it was asked to."""
_CHECK_SECONDS: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class CantGoOn(StockbellError):
    """The demo can't be played to its end; the text says why, on one line or more."""


class Interrupted(StockbellError):
    """Somebody asked the demo to end."""


class Process:
    """One program, leading a process group of its own."""

    def __init__(self, name: str, command: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str]) -> None:
        """Starts it; raises CantGoOn where there is no such program."""
        self.name = name
        self.log = log
        try:
            with log.open("wb") as output:
                self._popen = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_follow_the_parent,  # noqa: PLW1509  # see there
                )
        except OSError as error:
            raise CantGoOn(f"{shlex.join(command)} can't be started: {error.strerror}") from None

    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._popen.poll()

    def has_said(self, words: str) -> bool:
        """Whether its output has these words."""
        return words in self.log.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:])

    def is_gone(self) -> bool:
        """Whether nothing is left of its group."""
        if self._popen.poll() is None:
            return False
        try:
            os.killpg(self._popen.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Signals its whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)


def _follow_the_parent() -> None:
    """Between fork and exec: should the demo be killed, this process is asked to end (Linux).

    One call into a library that is loaded already: no lock that another thread could hold.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(slots=True)
class Processes:
    """All processes of one demo, in the order of their start. A context manager: none outlives it."""

    logs: Path
    cwd: Path
    stop: Stop
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    running: list[Process] = field(default_factory=list)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def start(self, name: str, command: Sequence[str]) -> Process:
        """Starts one more. Its output goes to a file of its name."""
        process = Process(name, command, self.logs / f"{name}.log", cwd=self.cwd, env=self.env)
        self.running.append(process)
        return process

    def run(self, name: str, command: Sequence[str]) -> str:
        """Runs a command to its end and returns its output. Raises CantGoOn if it fails, and Interrupted."""
        process = self.start(name, command)
        self.wait(lambda: process.code() is not None, 60.0, f"`{shlex.join(command)}` to end", but=process)
        self.running.remove(process)
        if process.code():
            raise CantGoOn(f"`{shlex.join(command)}` failed:\n{process.last_words()}")
        return process.log.read_text(encoding="utf-8")

    def wait(self, until: Callable[[], T], seconds: float, what: str, *, but: Process | None = None) -> T:
        """Calls `until` until it is true, and returns its value.

        Raises:
            Interrupted: somebody asked the demo to end.
            CantGoOn: a process (`but` this one) died, or it took too long.
        """
        deadline = time.monotonic() + seconds
        while not (value := until()):
            if self.stop.wait(_CHECK_SECONDS):
                raise Interrupted("stopped")
            self.check(but)
            if time.monotonic() > deadline:
                raise CantGoOn(f"waited {seconds:.0f} s in vain for {what}; the logs may say why: {self.logs}")
        return value

    def check(self, but: Process | None = None) -> None:
        """Raises CantGoOn if a process ended that should not."""
        for process in self.running:
            code = process.code()
            if process is not but and code is not None:
                raise CantGoOn(f"{process.name} died ({_meaning(code)}); its last words:\n{process.last_words()}")

    def end(self) -> None:
        """Ends all of them: the last first, since the others need what came before them."""
        while self.running:
            first, *others = self.running
            group, self.running = (others, [first]) if others else ([first], [])
            _end(group)


def _end(group: Sequence[Process]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in group:
            process.signal(number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if all(process.is_gone() for process in group):
                return
            time.sleep(_CHECK_SECONDS)


def _meaning(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def procfile() -> Iterator[tuple[str, list[str]]]:
    """Name and command of each of the Procfile's processes. Raises CantGoOn where there is none."""
    try:
        lines = PROCFILE.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise CantGoOn("no Procfile beside the program: run the demo in a clone of the project") from None
    for line in lines:
        name, colon, command = line.partition(":")
        if colon and not line.startswith("#"):
            # `exec` is for the shell of a process manager, so that it signals the process itself.
            yield name.strip(), shlex.split(command.strip().removeprefix("exec "))
