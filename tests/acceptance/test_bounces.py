"""`stockbell bounces` as its users run it: from a mail server, once, and as a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.stockbell import Stockbell, done, refused
from tests.bounce import bounce, deliver, in_mbox, letter, new_maildir
from tests.contract.reporting import told
from tests.contract.shop import shop_at
from tests.dovecot import PASSWORD, PROGRAM, dovecot
from tests.polling import eventually
from worker.domain.tokens import Tokens

ROOT = Path(__file__).parents[2]
KEY = "k" * 32
AGAIN = 75


@pytest.fixture
def reader(alone: Stockbell) -> Stockbell:
    """The program with a key, without Redis and a relay."""
    alone.environment["STOCKBELL_SECRET_KEY"] = KEY
    return alone


def bounces(program: Stockbell, number: int) -> list[bytes]:
    """Mails so many customers, and returns a bounce for each."""
    tokens = Tokens([KEY.encode()])
    with shop_at(program.environment["DATABASE_URL"]) as shop:
        return [bounce(tokens.for_return(each.id, each.claim_no), each.email) for each in told(shop, number)]


def bounced(program: Stockbell) -> int:
    return len(done(program.run("requests", "list", "--reason", "BOUNCED", "--json")).splitlines())


# From a mail server


def hand_over(program: Stockbell, message: bytes) -> "subprocess.CompletedProcess[str]":
    return program.run("bounces", "-", text=message.decode())


def test_a_mail_server_hands_over_a_report(reader: Stockbell) -> None:
    (sent,) = bounces(reader, 1)
    answer = hand_over(reader, b"From MAILER-DAEMON Sat Nov 28 09:00:00 2026\n" + sent)
    assert (answer.returncode, answer.stdout) == (0, "")
    assert bounced(reader) == 1


def test_what_is_not_ours_is_accepted_all_the_same_so_that_it_does_not_bounce(reader: Stockbell) -> None:
    answer = hand_over(reader, letter() + b"x" * 3_000_000)
    assert (answer.returncode, answer.stdout) == (0, "")
    assert answer.stderr.startswith("stockbell: accepted, but nothing was done: ")
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"DATABASE_URL": "postgresql://shop:hunter2@127.0.0.1:1/shop"},
        {"DATABASE_URL": "sqlite:///no/where.db"},
        {"STOCKBELL_SECRET_KEY": "hunter2"},
    ],
    ids=["database away", "no database", "wrong setting"],
)
def test_what_cannot_be_stored_is_handed_over_again(reader: Stockbell, settings: dict[str, str]) -> None:
    reader.environment |= settings
    answer = hand_over(reader, letter())
    assert (answer.returncode, answer.stdout) == (AGAIN, "")
    assert answer.stderr.startswith("stockbell: not taken, try again: ")
    assert "hunter2" not in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_one_that_is_stopped_is_handed_over_again(reader: Stockbell) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "bounces", "-"], env=reader.environment, stdin=reading, stderr=subprocess.PIPE
    )
    with process:
        eventually(lambda: handles(process.pid, signal.SIGTERM), until="it handles the signal")
        process.terminate()
        assert process.wait(60) == AGAIN
        assert process.stderr
        assert process.stderr.read() == b""
    os.close(reading)
    os.close(writing)


def handles(pid: int, number: signal.Signals) -> bool:
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (number - 1))


# Once


def test_a_maildir_is_looked_at_and_then_taken(reader: Stockbell, tmp_path: Path) -> None:
    maildir = new_maildir(tmp_path / "bounces")
    deliver(maildir, *bounces(reader, 2), letter())
    looked = done(reader.run("bounces", "--maildir", str(maildir), "--dry-run", "--json"))
    assert sorted(json.loads(line)["result"] for line in looked.splitlines()) == ["acted", "acted", "unmatched"]
    assert "@" not in done(reader.run("bounces", "--maildir", str(maildir), "--dry-run"))
    assert bounced(reader) == 0
    taken = json.loads(done(reader.run("bounces", "--maildir", str(maildir), "--json")))
    assert (taken["read"], taken["acted"], taken["unmatched"]) == (3, 2, 1)
    assert done(reader.run("bounces", "--maildir", str(maildir))) == "read: 0\n"
    assert bounced(reader) == 2


def test_an_mbox_is_read_on(reader: Stockbell, tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(in_mbox(bounces(reader, 1)[0]))
    assert done(reader.run("bounces", "--mbox", str(path))) == "read: 1, acted: 1\n"
    assert done(reader.run("bounces", "--mbox", str(path))) == "read: 0\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--maildir", "nowhere"], "is not a Maildir"),
        (["--mbox", "nowhere"], "nowhere: No such file or directory"),
        (["--imap"], "STOCKBELL_BOUNCE_IMAP is not set"),
        (["--imap", "--follow"], "STOCKBELL_BOUNCE_IMAP is not set"),
    ],
)
def test_a_mailbox_that_is_not_there_is_one_line(reader: Stockbell, arguments: list[str], says: str) -> None:
    assert says in refused(reader.run("bounces", *arguments))


@pytest.mark.parametrize(
    "arguments",
    [[], ["x"], ["-", "--imap"], ["--imap", "--mbox", "x"], ["-", "--follow"], ["--imap", "--follow", "--dry-run"]],
)
def test_wrong_usage_is_refused(reader: Stockbell, arguments: list[str]) -> None:
    assert reader.run("bounces", *arguments).returncode == 2


# As a process


def test_a_maildir_is_followed_until_it_is_stopped(reader: Stockbell, tmp_path: Path) -> None:
    sent = bounces(reader, 2)
    process = reader.start("bounces", "--maildir", str(tmp_path / "bounces"), "--follow")
    eventually(lambda: "mailbox.away" in reader.logs(), until="it waits for the mailbox")
    deliver(maildir := new_maildir(tmp_path / "bounces"), sent[0])
    eventually(lambda: len(list((maildir / "cur").iterdir())) == 1, until="the first is taken")
    deliver(maildir, sent[1])
    eventually(lambda: len(list((maildir / "cur").iterdir())) == 2, until="the second is taken")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 0
    logs = reader.logs()
    assert [logs.count(event) for event in ("bounces.started", "mailbox.back", "bounces.stopped")] == [1, 1, 1]
    assert "Traceback" not in logs
    assert bounced(reader) == 2


@contextmanager
def mailbox(program: Stockbell, *messages: bytes) -> Iterator[Path]:
    with dovecot() as server:
        deliver(server.maildir, *messages)
        program.environment["STOCKBELL_BOUNCE_IMAP"] = server.url
        yield server.maildir


@pytest.mark.skipif(not PROGRAM, reason="dovecot is not installed")
def test_a_folder_is_followed_and_a_wrong_password_is_said_once(reader: Stockbell) -> None:
    first, second = bounces(reader, 2)
    with mailbox(reader, first, letter()) as maildir:
        wrong = reader.start(
            "bounces",
            "--imap",
            "--follow",
            STOCKBELL_BOUNCE_IMAP=reader.environment["STOCKBELL_BOUNCE_IMAP"].replace(PASSWORD, "hunter2"),
        )
        process = reader.start("bounces", "--imap", "--follow")
        eventually(lambda: reader.logs().count("bounces.taken") == 1, until="the first is taken")
        deliver(maildir, second)
        eventually(lambda: reader.logs().count("bounces.taken") == 2, until="the second is heard of")
        eventually(lambda: "mailbox.refused" in reader.logs(), until="the password is refused")
        for each in (process, wrong):
            os.killpg(each.pid, signal.SIGTERM)
            assert each.wait(60) == 0
        assert "ok    bounces" in reader.run("doctor").stdout
    logs = reader.logs()
    assert (logs.count("mailbox.refused"), logs.count("Traceback")) == (1, 0)
    assert not [secret for secret in (PASSWORD, "hunter2", "customer") if secret in logs]
    assert bounced(reader) == 2


# make run


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("env", "file", "is_followed"),
    [
        ({}, None, False),
        ({}, "#STOCKBELL_BOUNCE_IMAP=imaps://a:b@c\nSTOCKBELL_BOUNCE_IMAP=\n", False),
        ({}, "MAIL_FROM=x@shop.example\nSTOCKBELL_BOUNCE_IMAP=imaps://a:b@c\n", True),
        ({"STOCKBELL_BOUNCE_IMAP": "imaps://a:b@c", "PORT": "9000"}, None, True),
    ],
)
def test_make_run_follows_the_folder_where_one_is_set(
    tmp_path: Path, env: dict[str, str], file: str | None, is_followed: bool
) -> None:
    for name in ("Makefile", "Procfile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    for name, script in {"stockbell": "true", "honcho": 'printf "%s\\n" "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o700)
    for name in ("locked", "installed"):
        (tmp_path / ".venv" / name).touch()
    if file:
        (tmp_path / ".env").write_text(file)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STOCKBELL_", "MAKE", "PORT"))}
    done = subprocess.run(["make", "run"], cwd=tmp_path, env=clean | env, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-5:] == ["--app-root", ".", "--procfile", ".venv/Procfile", "start"]
    lines = (tmp_path / ".venv" / "Procfile").read_text().splitlines()
    port = f"PORT={env['PORT']}" if "PORT" in env else "-u PORT"
    assert [line.replace(f" env {port}", "") for line in lines[:4]] == (ROOT / "Procfile").read_text().splitlines()
    assert lines[3] == f"web: exec env {port} stockbell web", "honcho gives each process a port of its own"
    assert lines[4:] == (["bounces: exec stockbell bounces --imap --follow"] if is_followed else [])
