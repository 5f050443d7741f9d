"""`make test-web` where a program that it needs is missing."""

from pathlib import Path

import pytest

from tests.web import __main__ as web_tests
from tests.web import tools


def program(folder: Path, name: str, says: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


def test_without_node_one_line_says_what_is_not_run_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert web_tests.main() == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "are not run: there is no Node" in said
    assert "apt-get install" in said


def test_a_node_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    program(tmp_path, "node", "v18.20.4")
    program(tmp_path, "npm", "10")
    assert tools.missing() == "Node is v18.20.4. Install Node 20 or newer"
    program(tmp_path, "node", "v22.1.0")
    assert tools.missing() is None


def test_chromium_is_found_by_its_names_and_by_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TEST_CHROMIUM", raising=False)
    assert tools.chromium() is None
    program(tmp_path, "chromium-browser", "157")
    assert tools.chromium() == str(tmp_path / "chromium-browser")
    program(tmp_path, "mine", "157")
    monkeypatch.setenv("TEST_CHROMIUM", str(tmp_path / "mine"))
    assert tools.chromium() == str(tmp_path / "mine")
