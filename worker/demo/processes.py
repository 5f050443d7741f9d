"""The processes of the demo. Each has its own process group and a log file, and all end with the demo.

Groups are signalled by the id of their leader. No process is ended by its name.
"""

import ctypes
import os
import re
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
"""Seconds that a group may take to end after SIGTERM. Then it is killed."""
_CHECK_SECONDS: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class CantGoOn(StockbellError):
    """The demo can't continue. The text says why, on one or more lines."""


class Interrupted(StockbellError):
    """The user stopped the demo."""


class Process:
    """A program that leads its own process group."""

    def __init__(self, name: str, command: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str]) -> None:
        """Starts the program. Raises CantGoOn if it can't be started."""
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
                    preexec_fn=_end_with_parent,  # noqa: PLW1509  # safe, see its docstring
                )
        except OSError as error:
            raise CantGoOn(f"can't start {shlex.join(command)}: {error.strerror}") from None

    def code(self) -> int | None:
        """Returns the exit code, or None while the program runs."""
        return self._popen.poll()

    def has_said(self, words: str) -> bool:
        """Whether the output contains these words."""
        return words in self.log.read_text(encoding="utf-8", errors="replace")

    def found(self, pattern: re.Pattern[str]) -> str:
        """Returns what the output has of this pattern; nothing if it has none."""
        match = pattern.search(self.log.read_text(encoding="utf-8", errors="replace"))
        return match[0] if match else ""

    def last_words(self) -> str:
        """Returns the last lines of the output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:])

    def is_gone(self) -> bool:
        """Whether all processes of the group have ended."""
        if self._popen.poll() is None:
            return False
        try:
            os.killpg(self._popen.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)


def _end_with_parent() -> None:
    """Runs between fork and exec. On Linux the process then gets SIGTERM if the demo is killed.

    It makes one call into a loaded library, and needs no lock that another thread could hold.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(slots=True)
class Processes:
    """All processes of one demo, in the order of their start. A context manager that ends all of them."""

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
        """Starts a process. Its output goes to a log file with its name."""
        process = Process(name, command, self.logs / f"{name}.log", cwd=self.cwd, env=self.env)
        self.running.append(process)
        return process

    def run(self, name: str, command: Sequence[str]) -> str:
        """Runs a command and returns its output. Raises CantGoOn if it fails, and Interrupted."""
        process = self.start(name, command)
        self.wait(lambda: process.code() is not None, 60.0, f"`{shlex.join(command)}` to end", but=process)
        self.running.remove(process)
        if process.code():
            raise CantGoOn(f"`{shlex.join(command)}` failed:\n{process.last_words()}")
        return process.log.read_text(encoding="utf-8")

    def wait(self, until: Callable[[], T], seconds: float, what: str, *, but: Process | None = None) -> T:
        """Calls `until` until its value is true, and returns the value.

        Raises:
            Interrupted: the user stopped the demo.
            CantGoOn: a process other than `but` ended, or it took too long.
        """
        deadline = time.monotonic() + seconds
        while not (value := until()):
            if self.stop.wait(_CHECK_SECONDS):
                raise Interrupted("stopped")
            self.check(but)
            if time.monotonic() > deadline:
                raise CantGoOn(f"waited {seconds:.0f} s for {what}, but it did not happen; see the logs in {self.logs}")
        return value

    def check(self, but: Process | None = None) -> None:
        """Raises CantGoOn if a process other than `but` has ended."""
        for process in self.running:
            code = process.code()
            if process is not but and code is not None:
                how = _exit_text(code)
                raise CantGoOn(f"{process.name} ended unexpectedly ({how}); its last lines:\n{process.last_words()}")

    def end(self) -> None:
        """Ends all processes. The first one, Redis, ends last because the others need it."""
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


def _exit_text(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def procfile() -> Iterator[tuple[str, list[str]]]:
    """Yields the name and the command of each process in the Procfile. Raises CantGoOn if there is no Procfile."""
    try:
        lines = PROCFILE.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise CantGoOn("no Procfile beside the program: run the demo in a clone of the project") from None
    for line in lines:
        name, colon, command = line.partition(":")
        if colon and not line.startswith("#"):
            # `exec` is for process managers that use a shell, so that their signals reach the process itself.
            yield name.strip(), shlex.split(command.strip().removeprefix("exec "))
