"""A process that has loaded all that a command needs, and runs each command in a copy of itself.

To load it takes a command over two seconds of a core, and what it does then a few hundredths. In the copy
everything is as in a process that begins: its environment, directory, streams, and `config.start.main`.
Not for what is about the process itself: signals, closed streams, what it loads, and how Python ends.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from tempfile import TemporaryDirectory
from typing import Any, Final

from config.start import main

ROOT: Final = Path(__file__).parents[2]
_ROOMS: Final = ("worker.cli", "worker.services", "config")
_OTHERS: Final = ("celery.app.task", "celery.worker.worker", "kombu.transport.redis", "worker.migrations")
SECONDS: Final = 60
"""So long a command may take: a generous limit."""
STREAMS: Final = {"stdin": os.O_RDONLY, "stdout": os.O_WRONLY | os.O_CREAT, "stderr": os.O_WRONLY | os.O_CREAT}


class Prompt:
    """Runs `stockbell ...` again and again."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.prompt"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, and it ends when they do
        )
        atexit.register(self.close)

    def close(self) -> None:
        """No more commands."""
        self._process.communicate()

    def run(
        self, *command: str, environment: Mapping[str, str], directory: Path, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; `text` is what it reads on stdin."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with TemporaryDirectory(prefix="stockbell-prompt-") as name:
            streams = Path(name)
            (streams / "stdin").write_text(text or "")
            order = {"command": command, "environment": dict(environment), "directory": str(directory), "streams": name}
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            assert answer, "whoever runs the commands is gone"
            said = [(streams / stream).read_text() for stream in ("stdout", "stderr")]
        return subprocess.CompletedProcess(["stockbell", *command], int(answer), *said)


@cache
def prompt() -> Prompt:
    """The only one of these tests."""
    return Prompt()


def serve() -> None:
    """Orders come as lines on stdin, and exit codes go to stdout."""
    _load()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            _become(json.loads(line))
            os._exit(_end())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def _load() -> None:
    for room in map(import_module, _ROOMS):
        for module in iter_modules(room.__path__, f"{room.__name__}."):
            import_module(module.name)
    for name in _OTHERS:
        import_module(name)
    gc.freeze()  # no copy looks at all of that for garbage


def _end() -> int:
    """Runs the command; its exit code. Nothing is torn down afterwards, which takes longer than most commands."""
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # as Python does
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


def _become(order: Mapping[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    for number, (name, flags) in enumerate(STREAMS.items()):
        opened = os.open(f"{order['streams']}/{name}", flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # what was read ahead is of other commands
    sys.argv = ["stockbell", *order["command"]]


if __name__ == "__main__":
    serve()
