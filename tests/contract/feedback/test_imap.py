"""The reader of IMAP folders against Dovecot: what it marks, what it leaves alone, and what it waits out."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.bounce import deliver, letter
from tests.dovecot import PASSWORD, PROGRAM, Dovecot, dovecot
from tests.polling import eventually
from tests.ports import listen
from tests.proxy import HOST, Proxy
from worker.domain.errors import MailboxAway, MailboxRefused
from worker.domain.imap_account import parse_imap_account
from worker.feedback import imap
from worker.feedback.imap import ImapMailbox
from worker.feedback.mailbox import Message
from worker.feedback.parts import READ_LIMIT

pytestmark = pytest.mark.skipif(not PROGRAM, reason="dovecot is not installed")

WITHOUT_MOVE = "IMAP4rev1 UIDPLUS AUTH=PLAIN"
WITH_LOGIN_ONLY = "IMAP4rev1"


@pytest.fixture(scope="module")
def kept() -> Iterator[Dovecot]:
    """A server that tests use one after the other."""
    with dovecot() as server:
        yield server


@pytest.fixture
def server(kept: Dovecot) -> Dovecot:
    """That server, with no messages."""
    for path in kept.maildir.rglob("*"):
        if path.parent.name in {"new", "cur"}:
            path.unlink()
    return kept


def mailbox(server: Dovecot, folder: str = "", *, port: int = 0, changes_nothing: bool = False) -> ImapMailbox:
    url = server.url.replace(f":{server.port}", f":{port or server.port}") + folder
    return ImapMailbox(parse_imap_account(url), changes_nothing=changes_nothing)


def settled(box: ImapMailbox) -> list[Message]:
    """Reads all, and says that all was dealt with."""
    found = list(box.messages())
    if found:
        box.settle([each.name for each in found], [])
    return found


def test_what_was_dealt_with_is_moved_and_the_rest_stays_unseen(server: Dovecot) -> None:
    deliver(server.maildir, ours := letter(), letter())
    box = mailbox(server)
    first, second = box.messages()
    assert first.content == ours.replace(b"\n", b"\r\n")
    box.settle([first.name], [second.name])
    assert (server.count(), server.count(".Stockbell"), server.flags()) == (1, 1, {""})
    assert "Stockbell" in (server.maildir / "subscriptions").read_text()
    assert list(box.messages()) == []
    box.close()


def test_what_was_left_is_not_looked_at_twice_by_the_next_process_either(server: Dovecot) -> None:
    deliver(server.maildir, letter())
    box = mailbox(server)
    box.settle([], [message.name for message in box.messages()])
    box.close()
    deliver(server.maildir, letter())
    later = mailbox(server)
    later.start_at(box.position)
    assert len(list(later.messages())) == 1
    later.close()


def test_a_look_changes_nothing(server: Dovecot) -> None:
    deliver(server.maildir, letter())
    box = mailbox(server, changes_nothing=True)
    assert len(settled(box)) == 1
    assert (server.count(), server.flags()) == (1, {""})
    box.close()


@pytest.mark.parametrize("position", ["nonsense", "{}", '{"uidValidity": 1, "uid": 4000000}'])
def test_a_position_of_another_folder_is_none(server: Dovecot, position: str) -> None:
    deliver(server.maildir, letter())
    box = mailbox(server)
    box.start_at(position)
    assert len(list(box.messages())) == 1
    box.close()


def test_a_huge_message_is_fetched_in_part_and_many_in_groups(server: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "_OCTETS_AT_ONCE", 2_000_000)
    monkeypatch.setattr(imap, "_AT_ONCE", 3)
    deliver(server.maildir, *(letter() for _ in range(4)), b"Subject: x\n\n" + b"x" * 78 * 30_000, letter())
    box = mailbox(server)
    assert sorted(len(each.content) for each in settled(box))[-1] == READ_LIMIT
    assert (server.count(), server.count(".Stockbell")) == (0, 6)
    box.close()


def test_what_somebody_deletes_meanwhile_is_no_trouble(server: Dovecot) -> None:
    deliver(server.maildir, letter(), letter())
    box, other = mailbox(server), mailbox(server)
    first, _ = box.messages()
    settled(other)
    box.settle([first.name], [])
    assert server.count(".Stockbell") == 2
    assert list(box.messages()) == []
    box.close()
    other.close()


def test_what_is_marked_as_deleted_is_left_alone(server: Dovecot) -> None:
    (name,) = deliver(server.maildir, letter())
    (server.maildir / "new" / name).rename(server.maildir / "cur" / f"{name}:2,T")
    box = mailbox(server)
    assert list(box.messages()) == []
    box.close()


def test_idle_hears_at_once_what_comes_in(server: Dovecot) -> None:
    box = mailbox(server)
    assert list(box.messages()) == []
    waiting = threading.Thread(target=box.wait, args=(lambda _seconds: False,), daemon=True)
    waiting.start()
    while waiting.is_alive():
        deliver(server.maildir, letter())
        waiting.join(1)
    assert settled(box)
    box.close()


def test_idle_ends_when_the_process_shall_end_and_the_connection_can_be_used(server: Dovecot) -> None:
    box = mailbox(server)
    box.wait(lambda _seconds: True)
    deliver(server.maildir, letter())
    assert len(settled(box)) == 1
    box.close()


def test_without_idle_it_asks_every_minute() -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return True

    with dovecot(capability=WITHOUT_MOVE) as server:
        box = mailbox(server)
        box.wait(pause)
        box.close()
    assert pauses == [imap.POLL_SECONDS]


def test_without_move_it_copies_and_expunges_only_its_own() -> None:
    with dovecot(capability=WITHOUT_MOVE) as server:
        deliver(server.maildir, letter(), letter())
        (deleted,) = deliver(server.maildir, letter())
        (server.maildir / "new" / deleted).rename(server.maildir / "cur" / f"{deleted}:2,T")
        box = mailbox(server)
        first, second = box.messages()
        box.settle([first.name], [second.name])
        assert (server.count(".Stockbell"), server.flags()) == (1, {"", "T"})
        assert server.count() == 2
        box.close()


def test_without_uidplus_it_marks_and_remembers() -> None:
    with dovecot(capability=WITH_LOGIN_ONLY) as server:
        deliver(server.maildir, letter(), letter())
        box = mailbox(server)
        assert len(settled(box)) == 2
        assert server.count() == 2
        assert {flags.rstrip("abc") for flags in server.flags()} == {"S"}
        assert "$Stockbell" in (server.maildir / "dovecot-keywords").read_text()
        assert list(box.messages()) == []
        box.close()


def test_a_folder_that_can_only_be_read_is_remembered() -> None:
    with dovecot(acl="lr") as server:
        deliver(server.maildir, letter())
        box = mailbox(server)
        assert box.look().endswith("leaves it as it is: the folder can only be read")
        assert len(settled(box)) == 1
        assert (server.count(), server.flags()) == (1, {""})
        later = mailbox(server)
        later.start_at(box.position)
        assert list(later.messages()) == []
        later.close()
        box.close()


def test_folders_that_must_be_in_the_inbox_are_made_there() -> None:
    with dovecot(namespace="prefix = INBOX.\n  separator = .") as server:
        deliver(server.maildir, letter())
        box = mailbox(server)
        settled(box)
        assert server.count(".Stockbell") == 1
        box.close()


def test_a_folder_that_was_made_anew_is_read_from_its_beginning() -> None:
    with dovecot() as server:
        deliver(server.maildir, letter(), letter())
        box = mailbox(server)
        box.settle([], [message.name for message in box.messages()])
        before = box.position
        box.close()
        for path in server.maildir.glob("dovecot*"):
            path.unlink()
        (server.maildir / "dovecot-uidlist").write_text("3 V4711 N9 G0123456789abcdef0123456789abcdef\n")
        later = mailbox(server)
        later.start_at(before)
        assert len(list(later.messages())) == 2
        assert '"uidValidity": 4711' in later.position or not later.position
        later.close()


def test_a_password_that_is_refused_is_told_apart_and_never_shown(server: Dovecot) -> None:
    url = server.url.replace(PASSWORD, "hunter2")
    with pytest.raises(MailboxRefused, match="the server refuses user or password") as refused:
        ImapMailbox(parse_imap_account(url)).look()
    assert "hunter2" not in str(refused.value)


def test_a_folder_that_is_not_there_is_said(server: Dovecot) -> None:
    with pytest.raises(MailboxAway, match="doesn't exist"):
        mailbox(server, "/Nowhere").look()


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(MailboxAway, match="refused"):
        ImapMailbox(parse_imap_account("imap://me:pw@127.0.0.1:1")).look()


@pytest.mark.parametrize("octets", [40, 400, 1500, 3000, 9000, 1_000_000])
def test_a_connection_that_is_cut_anywhere_loses_nothing_and_is_made_anew(server: Dovecot, octets: int) -> None:
    sent = [letter() for _ in range(20)]
    deliver(server.maildir, *sent)
    with Cut(server.port) as proxy:
        box = mailbox(server, port=proxy.port)
        proxy.left = octets
        with suppress(MailboxAway):  # the largest lets all through
            settled(box)
        proxy.left = None
        settled(box)
        box.close()
    assert (server.count(), server.count(".Stockbell")) == (0, len(sent))


class Cut(Proxy):
    """A proxy that ends a connection after so many octets in either direction."""

    left: int | None = None

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _born: int) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                if self.left is not None:
                    data = data[: self.left]
                    self.left -= len(data)
                writer.write(data)
                await writer.drain()
                if self.left == 0:
                    break
        writer.close()
        reader.feed_eof()


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    with dovecot(authority=authority) as server:
        url = server.url.replace("imap://", "imap+starttls://")
        with pytest.raises(MailboxAway, match="certificate not accepted"):
            ImapMailbox(parse_imap_account(url)).look()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        box = ImapMailbox(parse_imap_account(url))
        assert "IDLE" in box.look()
        box.close()


def test_tls_from_the_first_byte_is_spoken(server: Dovecot) -> None:
    authority = trustme.CA()
    theirs, ours = (ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    authority.issue_cert(HOST).configure_cert(theirs)
    authority.configure_trust(ours)
    deliver(server.maildir, letter())
    with Proxy(server.port, theirs) as proxy:
        account = parse_imap_account(server.url.replace("imap:", "imaps:").replace(str(server.port), str(proxy.port)))
        with pytest.raises(MailboxAway, match="certificate not accepted"):
            ImapMailbox(account).look()
        box = ImapMailbox(account, tls_context=ours)
        assert len(settled(box)) == 1
        box.wait(lambda _seconds: True)
        box.close()


def refused_by(capabilities: bytes) -> tuple[str, bytes]:
    """Logs in to a server that says no to LOGIN, with all that it was told. Returns the error, and what it heard."""
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection, connection.makefile("rwb", 0) as stream:
            stream.write(b"* OK hello\r\n")
            while line := stream.readline():
                heard.append(line)
                tag, *words = line.split()
                no = b" NO \x1b[2J for jane@example.com: " + b" ".join(words) if b"LOGIN" in words else b" OK done"
                stream.write(b"* CAPABILITY IMAP4rev1 " + capabilities + b"\r\n" + tag + no + b"\r\n")

    with listen() as listener:
        serving = threading.Thread(target=serve, args=(listener,), daemon=True)
        serving.start()
        port = listener.getsockname()[1]
        with pytest.raises(MailboxRefused) as refused:
            ImapMailbox(parse_imap_account(f"imap://me:{PASSWORD}@127.0.0.1:{port}")).look()
        serving.join(20)
    return str(refused.value), b"".join(heard)


def test_no_password_is_sent_to_a_server_that_takes_none() -> None:
    error, heard = refused_by(b"LOGINDISABLED")
    assert "takes no password" in error
    assert heard
    assert PASSWORD.encode() not in heard


def test_a_server_that_repeats_the_password_is_shown_without_it_and_on_one_clean_line() -> None:
    error, heard = refused_by(b"")
    assert PASSWORD.encode() in heard
    assert error.isprintable()
    assert "for ***@***: LOGIN me" in error
    assert PASSWORD not in error


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_for_an_answer(
    server: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap, "ANSWER_SECONDS", 0.2)
    with Proxy(server.port) as proxy:
        box = mailbox(server, port=proxy.port)
        box.look()
        proxy.fall_silent()
        with pytest.raises(MailboxAway, match="no answer in time"):
            list(box.messages())
        eventually(lambda: proxy.kept, until="it was asked")
    assert HOST in box.where
