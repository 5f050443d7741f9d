"""A process that has loaded all that a command needs, and runs each command in a copy of itself.

A command needs most of a second of a core to load that, and a few hundredths for its work. In the copy everything is as
in a process that begins: its environment, directory, streams, and `config.start.main`. The Celery worker of a copied
`stockbell work` is a copy, too. It is not for tests of the process itself: signals, closed streams, what it loads, and
how Python ends.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from pkgutil import iter_modules
from tempfile import TemporaryDirectory
from typing import Any, Final

from config.start import main
from tests import namespaces
from worker.processes import supervisor

ROOT: Final = Path(__file__).parents[2]
_ROOMS: Final = ("worker.cli", "worker.services", "config")
_OTHERS: Final = (
    "worker.processes.listener",
    "worker.processes.scheduler",
    "worker.migrations",
    "worker.tasks",
    "celery.__main__",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.worker.worker",
    "kombu.transport.redis",
)
SECONDS: Final = 60
"""How long a command may take: a generous limit."""
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND
STREAMS: Final = {"stdin": os.O_RDONLY, "stdout": _APPEND, "stderr": _APPEND}
PAUSE: Final = 0.01


class Copy:
    """A started copy, in a process group of its own. It is used like a `Popen`."""

    def __init__(self, pid: int, end: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = end

    def poll(self) -> int | None:
        """Returns the exit code, or None while the copy runs."""
        if self.returncode is None:
            with suppress(FileNotFoundError):
                self.returncode = int(self._end.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises TimeoutExpired if there is none after so many seconds."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("stockbell", timeout or 0)
            time.sleep(PAUSE)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal. Does nothing if the copy has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Worker(Copy):
    """The Celery worker of a copied `stockbell work`, which sees by itself how it ends."""

    def __init__(self, children: int, scratch: str) -> None:
        super().__init__(os.fork(), Path())
        if self.pid == 0:
            supervisor._between_fork_and_exec()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.environ["TMPDIR"] = scratch
            tempfile.tempdir = None
            sys.argv = ["celery", *supervisor.OPTIONS.split(), "--concurrency", str(children)]
            os._exit(_end(import_module("celery.__main__").main))

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode


class Prompt:
    """Runs `stockbell ...` again and again."""

    def __init__(self) -> None:
        self._ends = TemporaryDirectory(prefix="stockbell-prompt-")
        self._numbers = count()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.acceptance.prompt"],  # the program that PYTHONPATH names, if any
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, and this process ends when they do
        )
        atexit.register(self.close)

    def close(self) -> None:
        """Takes no more commands."""
        self._process.communicate()
        self._ends.cleanup()

    def run(
        self, *command: str, environment: Mapping[str, str], directory: Path, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end. `text` is what it reads on stdin."""
        with TemporaryDirectory(prefix="stockbell-streams-") as name:
            streams = {stream: Path(name) / stream for stream in STREAMS}
            streams["stdin"].write_text(text or "")
            code = self._start(command, environment, directory, streams, seconds=SECONDS).wait()
            return subprocess.CompletedProcess(
                ["stockbell", *command], code, streams["stdout"].read_text(), streams["stderr"].read_text()
            )

    def start(self, *command: str, environment: Mapping[str, str], directory: Path, log: Path) -> Copy:
        """Starts a command. All that it writes goes to `log`."""
        streams = {"stdin": Path(os.devnull), "stdout": log, "stderr": log}
        return self._start(command, environment, directory, streams, seconds=0)

    def _start(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        directory: Path,
        streams: Mapping[str, Path],
        seconds: int,
    ) -> Copy:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = Path(self._ends.name) / str(next(self._numbers))
        order = {
            "command": command,
            "environment": dict(environment),
            "directory": str(directory),
            "streams": {stream: str(path) for stream, path in streams.items()},
            "seconds": seconds,
            "end": str(end),
            "network": namespaces.path_of_mine(),
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "whoever runs the commands is gone"
        return Copy(int(answer), end)


@cache
def prompt() -> Prompt:
    """Returns the only one of these tests."""
    return Prompt()


def serve() -> None:
    """Runs the orders that come as lines on stdin.

    Process ids go to stdout. Exit codes go to the file that an order names.
    """
    _load()
    ends: dict[int, str] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _note_ends(ends))
    for line in sys.stdin:
        order = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        with namespaces.inside(order["network"]):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
                _become(order)
                os._exit(_end())
        os.setpgid(child, child)  # whoever gets the answer may send signals to its group
        ends[child] = order["end"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        print(child, flush=True)  # noqa: T201
    for child in list(ends):  # the tests were killed, or forgot it
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGTERM)


def _note_ends(ends: dict[int, str]) -> None:
    with suppress(ChildProcessError):  # none is left
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            end = Path(ends.pop(ended[0]))
            draft = end.with_suffix(".draft")
            draft.write_text(str(os.waitstatus_to_exitcode(ended[1])))
            draft.rename(end)  # so whoever looks finds all of it


def _load() -> None:
    for room in map(import_module, _ROOMS):
        for module in iter_modules(room.__path__, f"{room.__name__}."):
            import_module(module.name)
    for name in _OTHERS:
        import_module(name)
    supervisor._start = _Worker  # type: ignore[assignment]  # is used in the same way
    gc.freeze()  # so no copy looks for garbage in all of that


def _end(program: Callable[[], object] = main) -> int:
    """Runs a program and returns its exit code. Skips Python's cleanup, which takes longer than most commands."""
    try:
        program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # as Python does
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


def _become(order: Mapping[str, Any]) -> None:
    os.setpgid(0, 0)
    signal.alarm(order["seconds"])
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    tempfile.tempdir = None  # TMPDIR says where
    for number, (name, flags) in enumerate(STREAMS.items()):
        opened = os.open(order["streams"][name], flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # what was read ahead belongs to other commands
    sys.argv = ["stockbell", *order["command"]]


if __name__ == "__main__":
    serve()
