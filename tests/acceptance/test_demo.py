"""`stockbell demo` as a newcomer sees it: without a terminal, in a directory of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_private_files import not_private
from tests.polling import eventually

PROC = Path("/proc")

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="needs Linux's /proc to see what is left behind")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo, just started in `tmp_path`. What it needs for itself is in `tmp_path/tmp`."""
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "demo"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o022,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def left_behind(directory: Path) -> list[str]:
    """Returns the processes of a demo in that directory: they work in its temporary directory."""
    return [path.name for path in PROC.iterdir() if path.name.isdigit() and works_there(directory, path)]


def works_there(directory: Path, process: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(directory / "tmp")
    except OSError:
        return False


def mails(directory: Path) -> list[Path]:
    return list(directory.glob("demo-out/mails/*.eml"))


def test_the_demo_plays_to_its_end_and_its_books_balance(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    said, _ = demo.communicate(timeout=180)
    assert demo.returncode == 0, said
    told = len(mails(tmp_path))
    assert f"{told} mails in the inbox = {told} requests NOTIFICATION_SENT" in said
    assert "WRONG" not in said
    first = (tmp_path / "demo-out" / "first-mail.html").read_text()
    assert "back in stock" in first or "Wieder da" in first  # whoever was first reads English or German
    assert not_private(tmp_path / "demo-out") == []
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_ctrl_c_in_the_middle_leaves_no_process_behind(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    eventually(lambda: len(mails(tmp_path)) > 10, 120, until="mails go out")
    assert left_behind(tmp_path) != [], "or the last lines could not fail"
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert "Traceback" not in said
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
