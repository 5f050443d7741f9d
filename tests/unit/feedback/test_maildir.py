"""Maildirs: what is read, what is marked, and what is left alone."""

import os
from pathlib import Path

import pytest

from tests.bounce import deliver, letter, new_maildir
from worker.domain.errors import MailboxAway
from worker.feedback.maildir import Maildir
from worker.feedback.parts import READ_LIMIT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_maildir(tmp_path / "bounces")


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def read(maildir: Maildir) -> set[str]:
    return {message.name for message in maildir.messages()}


def test_what_was_dealt_with_is_seen_and_the_rest_stays_new(path: Path) -> None:
    ours, others = deliver(path, letter(), letter())
    maildir = Maildir(path)
    assert read(maildir) == {ours, others}
    maildir.settle([ours], [others])
    assert (names(path / "new"), names(path / "cur")) == ({others}, {f"{ours}:2,S"})


def test_flags_that_are_there_are_kept_in_order(path: Path) -> None:
    (path / "new" / "1.mx:2,TF").write_bytes(letter())
    Maildir(path).settle(["1.mx:2,TF"], [])
    assert names(path / "cur") == {"1.mx:2,FST"}


def test_a_message_of_the_same_name_is_not_overwritten(path: Path) -> None:
    (path / "new" / "1.mx").write_bytes(b"new")
    (path / "cur" / "1.mx:2,S").write_bytes(b"old")
    maildir = Maildir(path)
    maildir.settle(["1.mx"], [])
    assert ((path / "new" / "1.mx").read_bytes(), (path / "cur" / "1.mx:2,S").read_bytes()) == (b"new", b"old")
    assert read(maildir) == set()


def test_what_was_left_is_not_looked_at_twice_by_this_process_or_the_next(path: Path) -> None:
    (first,) = deliver(path, letter())
    maildir = Maildir(path)
    assert read(maildir) == {first}
    maildir.settle([], [first])
    (second,) = deliver(path, letter())
    assert read(maildir) == {second}
    later = Maildir(path)
    later.start_at(maildir.position)
    assert read(later) == {second}


def test_what_is_gone_is_forgotten(path: Path) -> None:
    maildir = Maildir(path)
    names_left = deliver(path, letter(), letter())
    maildir.settle([], names_left)
    (path / "new" / names_left[0]).unlink()
    before = maildir.position
    assert read(maildir) == set()
    assert len(maildir.position) < len(before)


@pytest.mark.parametrize("position", ["", "nonsense", "{}", '{"left": 5}', '{"left": "a"}', "[]"])
def test_a_position_that_cannot_be_read_is_none(path: Path, position: str) -> None:
    (name,) = deliver(path, letter())
    maildir = Maildir(path)
    maildir.start_at(position)
    assert read(maildir) == {name}


def test_only_regular_files_are_read(path: Path) -> None:
    (path / "secret").write_text("of somebody else")
    (path / "new" / "link").symlink_to(path / "secret")
    (path / "new" / "folder").mkdir()
    os.mkfifo(path / "new" / "pipe")
    (path / "new" / ".hidden").write_bytes(letter())
    (name,) = deliver(path, letter())
    assert read(Maildir(path)) == {name}


def test_what_others_move_meanwhile_is_no_trouble(path: Path) -> None:
    found = deliver(path, letter(), letter(), letter())
    maildir = Maildir(path)
    messages = maildir.messages()
    first = next(messages).name
    for name in found:
        (path / "new" / name).unlink()
    assert list(messages) == []
    maildir.settle([first], [])
    assert names(path / "cur") == set()


def test_of_a_huge_message_the_beginning_is_read(path: Path) -> None:
    deliver(path, b"Subject: x\n\n" + b"x" * 2 * READ_LIMIT)
    (message,) = Maildir(path).messages()
    assert len(message.content) == READ_LIMIT


def test_a_folder_that_has_not_changed_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = deliver(path, letter())
    os.utime(path / "new", (1_700_000_000, 1_700_000_000))
    maildir = Maildir(path)
    assert read(maildir) == {name}
    monkeypatch.setattr(os, "scandir", None)
    assert read(maildir) == set()


@pytest.mark.parametrize("missing", ["new", "cur"])
def test_a_folder_that_is_missing_is_said(path: Path, missing: str) -> None:
    (path / missing).rmdir()
    with pytest.raises(MailboxAway, match=f"is not a Maildir: there is no folder {missing}"):
        list(Maildir(path).messages())


def test_a_folder_that_can_only_be_read_is_said_before_anything_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(path, letter())
    monkeypatch.setattr(os, "access", lambda _path, rights: not rights & os.W_OK)
    with pytest.raises(MailboxAway, match="no permission to read and change the folder new"):
        list(Maildir(path).messages())
    assert len(list(Maildir(path, changes_nothing=True).messages())) == 1


def test_a_maildir_in_a_folder_of_somebody_else_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_path: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(MailboxAway, match="Permission denied"):
        list(Maildir(path).messages())
