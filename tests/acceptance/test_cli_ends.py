"""How commands and processes end: stopped while they start, interrupted, or when nobody reads what they print."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.stockbell import Stockbell, refused
from tests.polling import eventually
from tests.proxy import HOST, Proxy


def test_whoever_stops_reading_hears_no_complaint(program: Stockbell) -> None:
    program.waiting("mug-1", 5)
    reading, writing = os.pipe()
    os.close(reading)
    answer = subprocess.run(
        [sys.executable, "-m", "worker", "requests", "list"],
        env=program.environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (1, "")


def in_shell(program: Stockbell, command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs `stockbell COMMAND` with its redirections."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m worker {command}', sys.executable],
        env=program.environment | settings,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_trouble(program: Stockbell, closed: str) -> None:
    answer = in_shell(program, f"requests create jane@customer.example mug-1 {closed}")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert bool(answer.stdout) == (">&- " not in f"{closed} ".replace("2>&-", ""))
    assert len(program.requests()) == 1


def test_a_closed_stream_can_hold_no_requests(program: Stockbell) -> None:
    assert "line 1 must be a header" in refused(in_shell(program, "import - <&-"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_signs_that_the_output_does_not_have_are_written_in_others(program: Stockbell, encoding: str) -> None:
    made = in_shell(program, "requests create jane@müller.example mug-1 --option Größe=λ", PYTHONIOENCODING=encoding)
    assert (made.returncode, made.stderr) == (0, "")
    listed = in_shell(program, "requests list --json", PYTHONIOENCODING=encoding)
    assert json.loads(listed.stdout)["catalogReference"]["options"] == {"Größe": "λ"}
    assert r"\u03bb" in in_shell(program, "requests list", PYTHONIOENCODING=encoding).stdout


def held_at(fifo: Path) -> Callable[[], object]:
    """Makes a pipe that holds its reader, since nobody writes to it. Returns a function that waits for the reader."""
    os.mkfifo(fifo)

    def is_being_read() -> bool:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK) > 0
        except OSError:
            return False

    return lambda: eventually(is_being_read, until=f"{fifo.name} is read")


def at_its_settings(directory: Path) -> Callable[[], object]:
    """Holds a process when it reads its settings."""
    return held_at(directory / ".env")


def at_its_imports(directory: Path) -> Callable[[], object]:
    """Holds a process when it loads the libraries that a command needs: it finds another one of the same name first."""
    (directory / "typer.py").write_text("open('library').read()")
    return held_at(directory / "library")


STAGES = pytest.mark.parametrize("stage", [at_its_imports, at_its_settings])
Stage = Callable[[Path], Callable[[], object]]


@STAGES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["listen", "work", "schedule"])
def test_a_process_that_is_stopped_while_it_starts_ends_in_order(
    alone: Stockbell, tmp_path: Path, command: str, number: signal.Signals, stage: Stage
) -> None:
    reach = stage(tmp_path)
    process = alone.start(command)
    reach()
    os.killpg(process.pid, number)
    assert process.wait(60) == 0
    assert alone.logs() == ""


@STAGES
@pytest.mark.parametrize("command", ["requests list", "import requests.csv", "status --json", "doctor"])
def test_a_command_that_is_interrupted_ends_with_130_and_without_a_word(
    alone: Stockbell, tmp_path: Path, command: str, stage: Stage
) -> None:
    reach = stage(tmp_path)
    process = alone.start(*command.split())
    reach()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert alone.logs() == ""


@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("requests", "list", "--limit", "0")])
def test_a_full_disk_is_one_line(program: Stockbell, command: Sequence[str]) -> None:
    program.waiting("mug-1", 100)
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "worker", *command],
            env=program.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert refused(answer) == "can't write the output: No space left on device"


@pytest.mark.parametrize("command", ["listen", "work", "schedule"])
def test_a_process_waits_for_its_database_says_so_once_and_can_be_stopped(alone: Stockbell, command: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        alone.environment["DATABASE_URL"] = f"postgresql://stockbell:hunter2@127.0.0.1:{port}/shop"
        process = alone.start(command)
        eventually(lambda: "database.away" in alone.logs(), until="it says what it waits for")
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
    assert f"127.0.0.1:{port}" in alone.logs()
    assert "hunter2" not in alone.logs()
    assert "Traceback" not in alone.logs()
    assert alone.logs().count("database.away") == 1


@pytest.mark.parametrize(("command", "waiting"), [("listen", 1), ("schedule", 2)])
def test_a_process_whose_database_falls_silent_ends_when_it_is_stopped(
    stockbell: Stockbell, command: str, waiting: int
) -> None:
    """`waiting` threads of it wait for an answer by then. The connections stay, so they would wait for ever."""
    url = make_url(stockbell.environment["DATABASE_URL"])
    with Proxy(url.port or 0) as proxy:
        through = url.set(host=HOST, port=proxy.port).render_as_string(hide_password=False)
        stockbell.environment["DATABASE_URL"] = through
        process = stockbell.start(command)
        eventually(lambda: ".started" in stockbell.logs(), until="it is up")
        proxy.fall_silent()
        stockbell.publish(catalogItemId="mug-1", quantity=5)
        eventually(lambda: proxy.kept == waiting, until="it waits for the database")
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
    assert "Traceback" not in stockbell.logs()
