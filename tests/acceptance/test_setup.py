"""`make setup` chooses a Python that suits, before it builds anything, and `.venv` follows the one that is named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = "Stockbell needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module"
OTHER = "another"
"""A Python that suits, and is not the one of these tests"""
OLD = "python3.10"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make setup` reads, with two Pythons beside it that only say what they are."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    put(tmp_path / OLD, "case $1 in --version) echo Python 3.10.13;; *) exit 1;; esac")
    put(tmp_path / OTHER, "case $2 in *exit*) exit 0;; *) echo 3.99;; esac")
    return tmp_path


def put(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)


def build(checkout: Path, python: Path) -> None:
    """Leaves a finished `.venv` of this Python there."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(python)
    for name in ("locked", "installed"):
        (checkout / ".venv" / name).touch()


def make(checkout: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program is not None
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "PYENV_ROOT"}}
    environment = inherited | {"HOME": str(checkout), "PATH": path or os.environ["PATH"]}
    return subprocess.run(
        [program, "setup", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def would_build(checkout: Path, *arguments: str) -> bool:
    return "-m venv --clear .venv" in make(checkout, "--dry-run", *arguments).stdout


@pytest.mark.parametrize(
    ("python", "here"),
    [(OLD, "Here, {} is Python 3.10.13."), ("nothing", "Here, {} is missing.")],
)
def test_a_python_that_does_not_suit_is_named_in_one_line_and_nothing_is_built(
    checkout: Path, python: str, here: str
) -> None:
    named = str(checkout / python)
    tried = make(checkout, f"PYTHON={named}")
    said = [line for line in tried.stderr.splitlines() if not line.startswith("make")]
    assert tried.returncode != 0
    assert len(said) == 1
    assert said[0].startswith(SAYS)
    assert said[0].endswith(here.format(named))
    assert not (checkout / ".venv").exists()


def test_a_finished_venv_is_kept_if_the_python_that_is_named_does_not_suit(checkout: Path) -> None:
    build(checkout, Path(sys.executable))
    assert make(checkout, f"PYTHON={checkout / OLD}").returncode != 0
    assert (checkout / ".venv" / "installed").exists()


def test_without_any_python_one_line_says_so(checkout: Path) -> None:
    (checkout / "bin").mkdir()
    for name in ("sh", "test", "echo"):
        (checkout / "bin" / name).symlink_to(shutil.which(name) or name)
    tried = make(checkout, path=str(checkout / "bin"))
    assert tried.stderr.startswith(SAYS)
    assert "Here, python3 is missing." in tried.stderr


def test_a_venv_of_another_python_than_the_one_that_is_named_is_built_anew(checkout: Path) -> None:
    build(checkout, Path(sys.executable))
    assert would_build(checkout, f"PYTHON={checkout / OTHER}")
    assert not would_build(checkout, f"PYTHON={sys.executable}")
    assert not would_build(checkout)


def test_a_venv_whose_python_is_gone_is_built_anew(checkout: Path) -> None:
    build(checkout, checkout / "gone")
    assert would_build(checkout)


def test_a_python_that_pyenv_or_uv_keeps_is_found(checkout: Path) -> None:
    kept = checkout / ".local" / "share" / "uv" / "python" / "cpython-3.99" / "bin"
    kept.mkdir(parents=True)
    (checkout / OTHER).rename(kept / OTHER)
    build(checkout, Path(sys.executable))
    assert would_build(checkout, f"PYTHON={OTHER}")
    (kept / OTHER).unlink()
    (kept / OTHER).symlink_to(sys.executable)
    assert not would_build(checkout, f"PYTHON={OTHER}")


@pytest.mark.parametrize("start", ["import worker.__main__", "from config.start import main; main()"])
def test_an_older_python_is_refused_in_one_line(start: str) -> None:
    older = f"import sys; sys.version_info = (3, 10, 13, 'final', 0); sys.version = '3.10.13 (main)'; {start}"
    tried = subprocess.run([sys.executable, "-c", older], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (tried.returncode, tried.stdout) == (1, "")
    assert tried.stderr == "Stockbell needs Python 3.11 or newer, and this is Python 3.10.13\n"
