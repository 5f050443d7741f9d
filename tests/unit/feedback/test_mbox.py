"""Mbox files: where messages begin and end, how far the file was read, and its locks."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounce import bounce, in_mbox, letter
from worker.domain.errors import MailboxAway
from worker.feedback import mbox
from worker.feedback.mailbox import Message
from worker.feedback.mbox import Mbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bounces"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "LOCK_SECONDS", 0)


def contents(found: Iterator[Message]) -> list[bytes]:
    return [message.content for message in found]


def settled(box: Mbox) -> list[bytes]:
    found = list(box.messages())
    if found:
        box.settle([], [message.name for message in found])
    return [message.content for message in found]


def append(path: Path, *messages: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(map(in_mbox, messages)))


def test_messages_come_as_they_were_and_the_file_is_not_changed(path: Path) -> None:
    sent = [bounce("ab"), letter(), bounce("cd")]
    append(path, *sent)
    before = path.read_bytes()
    assert contents(Mbox(path).messages()) == [each + b"\n" for each in sent]
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["bounces"]


def test_a_single_message_without_the_line_before_it_is_no_mbox(path: Path) -> None:
    path.write_bytes(bounce("ab"))
    with pytest.raises(MailboxAway, match="is not an mbox"):
        list(Mbox(path).messages())


def test_only_what_is_new_is_read_by_this_process_and_the_next(path: Path) -> None:
    box = Mbox(path)
    append(path, letter())
    assert len(settled(box)) == 1
    assert settled(box) == []
    append(path, second := letter())
    later = Mbox(path)
    later.start_at(box.position)
    assert settled(later) == settled(box) == [second + b"\n"]


def test_the_position_is_behind_what_was_settled_and_no_further(path: Path) -> None:
    append(path, letter(), second := letter())
    box = Mbox(path)
    box.settle([next(box.messages()).name], [])
    assert settled(box) == [second + b"\n"]


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "_AT_ONCE", 1)
    append(path, letter())
    found = Mbox(path).messages()
    next(found)
    append(path, second := letter())
    assert contents(found) == [second + b"\n"]


@pytest.mark.parametrize("kept", [0, 100], ids=["empty", "shorter"])
def test_a_truncated_file_is_read_from_its_beginning(path: Path, kept: int) -> None:
    append(path, letter(), letter())
    box = Mbox(path)
    settled(box)
    os.truncate(path, kept)
    path.write_bytes(b"")
    append(path, new := letter())
    assert settled(box) == [new + b"\n"]


def test_a_file_that_was_replaced_is_read_from_its_beginning(path: Path) -> None:
    append(path, letter())
    box = Mbox(path)
    settled(box)
    path.unlink()
    append(path, *(sent := [letter(), letter(), letter()]))
    assert settled(box) == [each + b"\n" for each in sent]


def test_a_file_that_was_rewritten_amid_is_read_from_its_beginning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "_AT_ONCE", 1)
    append(path, letter(), letter(), letter())
    box = Mbox(path)
    found = box.messages()
    box.settle([next(found).name], [])
    path.unlink()
    append(path, *(sent := [bounce("ab"), letter()]))
    assert contents(found) == []
    assert settled(box) == [each + b"\n" for each in sent]


@pytest.mark.parametrize(
    "position", ["nonsense", "{}", '{"offset": "x", "before": ""}', '{"offset": 10, "before": "no"}']
)
def test_a_position_that_does_not_fit_is_none(path: Path, position: str) -> None:
    append(path, sent := letter())
    box = Mbox(path)
    box.start_at(position)
    assert settled(box) == [sent + b"\n"]


def test_a_message_that_is_still_being_written_is_left_until_it_is_whole(path: Path) -> None:
    append(path, first := letter())
    whole = in_mbox(second := letter())
    with path.open("ab") as file:
        file.write(whole[:-30])
    box = Mbox(path)
    assert settled(box) == [first + b"\n"]
    with path.open("ab") as file:
        file.write(whole[-30:])
    assert settled(box) == [second + b"\n"]


def test_a_last_message_without_an_empty_line_is_whole_once_the_file_is_quiet(path: Path) -> None:
    path.write_bytes(in_mbox(sent := letter()).removesuffix(b"\n"))
    assert settled(Mbox(path)) == []
    long_ago = time.time() - 2 * mbox.QUIET_SECONDS
    os.utime(path, (long_ago, long_ago))
    assert settled(Mbox(path)) == [sent]


def test_a_from_line_amid_a_paragraph_begins_no_message(path: Path) -> None:
    path.write_bytes(b"From a b\nSubject: x\n\nWho wrote it?\nFrom me.\n\n")
    assert contents(Mbox(path).messages()) == [b"Subject: x\n\nWho wrote it?\nFrom me.\n\n"]


def test_a_from_amid_a_long_line_begins_no_message(path: Path) -> None:
    path.write_bytes(b"From a b\n\n\n" + b"x" * (mbox._LINE - 3) + b"\n\n" + b"y" * mbox._LINE + b"From me\n\n")
    assert len(contents(Mbox(path).messages())) == 1


def test_of_a_huge_message_only_the_beginning_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "READ_LIMIT", 1000)
    append(path, b"Subject: x\n\n" + b"x\n" * 2000, small := letter())
    huge, after = contents(Mbox(path).messages())
    assert 1000 <= len(huge) <= 1002
    assert after == small + b"\n"


LINES = st.lists(st.sampled_from([b"From x", b">From x", b">>From", b"", b"text", b"From ", b"Fro"]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(bodies=st.lists(LINES, min_size=1, max_size=4))
def test_whatever_lines_messages_have_they_come_back_alike(
    bodies: list[list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mbox") / "x"
    sent = [b"Subject: x\n\n" + b"".join(line + b"\n" for line in body) for body in bodies]
    append(path, *sent)
    assert contents(Mbox(path).messages()) == [each + b"\n" for each in sent]


@pytest.mark.usefixtures("_impatient")
def test_the_lock_file_of_another_program_is_respected(path: Path) -> None:
    append(path, letter())
    lock = path.with_name("bounces.lock")
    lock.write_text(f"{os.getpid()}\n")
    with pytest.raises(MailboxAway, match="is locked by another program"):
        list(Mbox(path).messages())
    assert lock.exists()
    lock.unlink()
    assert len(settled(Mbox(path))) == 1


@pytest.mark.parametrize("forgotten", ["by one that has ended", "long ago"])
def test_a_forgotten_lock_file_is_removed(path: Path, forgotten: str) -> None:
    append(path, letter())
    lock = path.with_name("bounces.lock")
    lock.write_text(f"{2**22 + 1}\n" if forgotten == "by one that has ended" else f"{os.getpid()}\n")
    if forgotten == "long ago":
        long_ago = time.time() - 2 * mbox.STALE_SECONDS
        os.utime(lock, (long_ago, long_ago))
    assert len(settled(Mbox(path))) == 1
    assert not lock.exists()


LOCKING = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("_impatient")
def test_the_lock_of_a_writer_is_respected(path: Path) -> None:
    append(path, letter())
    writer = subprocess.Popen(  # fcntl's locks are between processes
        [sys.executable, "-c", LOCKING, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    with writer:
        assert writer.stdout
        writer.stdout.readline()
        with pytest.raises(MailboxAway, match="is locked"):
            list(Mbox(path).messages())
    assert len(settled(Mbox(path))) == 1


def test_it_is_locked_while_it_is_read_and_not_while_a_message_is_looked_at(path: Path) -> None:
    append(path, letter(), letter())
    for _ in Mbox(path).messages():
        assert not path.with_name("bounces.lock").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_is_not_ours_gets_no_lock_file(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(_lock_file: Path) -> None:
        raise OSError(number, os.strerror(number))

    append(path, letter())
    monkeypatch.setattr(mbox, "_make", refuse)
    assert len(settled(Mbox(path))) == 1


def test_a_file_that_is_gone_or_none_is_said(path: Path) -> None:
    with pytest.raises(MailboxAway, match="No such file"):
        list(Mbox(path).messages())
    os.mkfifo(path)
    with pytest.raises(MailboxAway, match="is not a file"):
        list(Mbox(path).messages())
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(MailboxAway, match="symbolic links"):
        list(Mbox(path).messages())
