"""The supervisor: what it starts."""

import subprocess
from pathlib import Path

from worker.processes.supervisor import CELERY


def test_the_worker_is_ours_whatever_lies_in_the_folder_it_runs_in(tmp_path: Path) -> None:
    for name in ("worker", "config"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the shop')\n")
    ended = subprocess.run([*CELERY, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--concurrency" in ended.stdout
