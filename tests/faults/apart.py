"""Runs several scenarios at a time, each with its own process and servers. Most of them wait more than they work."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory

from tests.faults.checker import Findings
from tests.faults.trial import Result


def run(names: Sequence[str], jobs: int, arguments: Sequence[str], deadline: float) -> Iterator[Result]:
    """Yields results as they come. Begins none after the deadline (`time.monotonic`). If this ends, they all end."""
    processes: list[Popen[bytes]] = []
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(_one, name, arguments, deadline, processes) for name in names]
        try:
            for done in as_completed(waiting):
                yield from done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()


def _one(name: str, arguments: Sequence[str], deadline: float, processes: list[Popen[bytes]]) -> Sequence[Result]:
    if time.monotonic() > deadline:
        return []
    with TemporaryDirectory(prefix="stockbell-faults-") as directory:
        answer = Path(directory) / "answer.json"
        command = [
            sys.executable,
            "-m",
            "tests.faults",
            *arguments,
            "--only",
            name,
            "--hours",
            "0",
            "--json",
            str(answer),
        ]
        process = Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        processes.append(process)
        _, errors = process.communicate()
        if answer.exists():
            return [_read(answer.read_text())]
    *_, last = errors.decode(errors="replace").splitlines() or ["without a word"]
    return [hung(name, f"the scenario itself ended: {last}")]


def skipped(name: str, words: str) -> Result:
    """Returns the result of a scenario that this machine can't run, with the reason in its name."""
    return Result(f"{name} skipped: {words}", {}, Findings(0, 0, 0, 0, 0), 0.0, 0.0)


def hung(name: str, words: str) -> Result:
    """Returns the result of a scenario that did not come to its end. That is a breach too."""
    return Result(name, {}, Findings(0, 0, 0, 0, 0, [words]), 0.0, 0.0)


def _read(text: str) -> Result:
    (found,) = json.loads(text)
    return Result(**{**found, "findings": Findings(**found["findings"])})
