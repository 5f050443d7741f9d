"""Processes that the benchmark starts, and what Linux knows about them: CPU time and memory."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.acceptance.stockbell import descendants

ROOT = Path(__file__).parents[2]
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_PDEATHSIG = 1
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05


class NotInTime(Exception):
    """Raised when something takes longer than the benchmark may wait."""


def say(text: str) -> None:
    """Prints a line about the progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path = ROOT,
    end: signal.Signals = signal.SIGTERM,
    **identity: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a process, and ends it afterwards with all below it. `identity`: the user it runs as, for `subprocess`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us: we end the process in order
            preexec_fn=_begin,  # noqa: PLW1509  # no other thread of ours runs Python code by then
            **identity,
        )
    try:
        yield process
    finally:
        stop(process, end)


def stop(process: subprocess.Popen[bytes], end: signal.Signals) -> None:
    """Asks the process to end. Then kills what is left of it and of all that it started."""
    below = descendants(process.pid)
    with suppress(ProcessLookupError):
        if process.poll() is None:
            process.send_signal(end)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in below if process.poll() is not None else [*below, process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _begin() -> None:
    """Makes Linux tell this process to end if its parent is killed, and lets it be ended by SIGQUIT.

    A shell makes its background programs ignore SIGQUIT, and what they start would ignore it too.
    """
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def until(is_so: Callable[[], object], what: str, seconds: float = 30.0, *, every: float = POLL_SECONDS) -> None:
    """Waits until `is_so` returns something true. Raises NotInTime."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {seconds:g} s: {what}")
        time.sleep(every)


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Returns whether somebody listens at this port."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process itself has used, or 0 if it is gone."""
    return sum(_times(pid)[:2])


def cpu_seconds_of_all(pid: int) -> float:
    """Returns the CPU time that a process and all below it have used, including those that have ended."""
    return sum(sum(_times(each)) for each in (pid, *descendants(pid)))


def _times(pid: int) -> list[float]:
    """Returns the seconds in user and system mode, then those of its children that have ended (proc_pid_stat(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return [0.0] * 4
    return [int(ticks) / TICK for ticks in fields[11:15]]


def resident_megabytes(pid: int) -> float:
    """Returns the resident memory, including what is shared with others, or 0 if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def private_megabytes(pid: int) -> float:
    """Returns the memory that a process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def connections_to(pid: int, port: int) -> int:
    """Returns how many TCP connections a process has to a port of this machine (proc(5): /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if int(row[2].rpartition(":")[2], 16) == port}
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(descriptor.readlink()) in sockets
    return found
