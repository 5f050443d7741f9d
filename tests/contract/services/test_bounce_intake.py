"""Mailboxes are emptied into the database: what is marked when, what is left, and what a death or a fault changes."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.bounce import bounce, deliver, in_mbox, letter, new_maildir
from tests.contract.reporting import DOMAIN, TOKENS, intake_of, return_token, told
from tests.contract.services import dying_reader
from tests.contract.shop import Shop, shop_at
from tests.dovecot import PROGRAM, dovecot
from worker.domain.errors import DatabaseAway
from worker.domain.recognition import Recognizer
from worker.domain.returned import Report
from worker.feedback import messages
from worker.feedback.maildir import Maildir
from worker.feedback.mbox import Mbox
from worker.services import bounce_intake
from worker.services.bounce_intake import BounceIntake, judge_one, take_one
from worker.services.returning import Intake, Result, Taken

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_maildir(tmp_path / "bounces")


def bounces(shop: Shop, number: int) -> list[bytes]:
    """Mails so many customers, and returns a bounce for each."""
    return [bounce(return_token(claim), claim.email) for claim in told(shop, number)]


def codes(shop: Shop) -> Counter[str | None]:
    return Counter(row.failure_code for row in shop.rows())


def reports(shop: Shop) -> int:
    return len(shop.ask("SELECT key FROM report"))


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


class Faulty(Intake):
    """An intake that can't take some messages, by a fault, or because the database is away."""

    error: Exception = DatabaseAway("connection failed")
    bad: Callable[[Sequence[tuple[str, Report]]], bool] = staticmethod(lambda _found: True)

    def take(self, found: Sequence[tuple[str, Report]], source: str) -> Sequence[Taken]:
        if self.bad(found):
            raise self.error
        return super().take(found, source)


def test_reports_act_and_are_moved_and_other_messages_stay(shop: Shop, path: Path) -> None:
    deliver(path, *bounces(shop, 3))
    (other,) = deliver(path, letter())
    counts = BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all()
    assert counts == {Result.ACTED: 3, Result.UNMATCHED: 1}
    assert codes(shop) == {"BOUNCED": 3}
    assert (names(path / "new"), len(names(path / "cur"))) == ({other}, 3)
    assert BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all() == {}


def test_what_came_to_two_mailboxes_acts_once(shop: Shop, path: Path) -> None:
    (sent,) = bounces(shop, 1)
    deliver(path, sent, sent)
    assert BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all().total() == 2
    (path.parent / "mbox").write_bytes(in_mbox(sent))
    again = BounceIntake(shop.database, intake_of(shop), Mbox(path.parent / "mbox")).take_all()
    assert again == {Result.REPEATED: 1}
    assert (codes(shop), reports(shop)) == ({"BOUNCED": 1}, 1)


def test_a_look_changes_nothing_and_says_what_would_be_done(shop: Shop, path: Path) -> None:
    deliver(path, *bounces(shop, 1), letter())
    judged = list(BounceIntake(shop.database, intake_of(shop), Maildir(path)).judge_all())
    assert {(each.taken.result, each.stays) for each in judged} == {(Result.ACTED, False), (Result.UNMATCHED, True)}
    assert (codes(shop), reports(shop), len(names(path / "new"))) == ({None: 1}, 0, 2)
    assert shop.ask("SELECT name FROM place") == []


def test_a_limit_is_kept(shop: Shop, path: Path) -> None:
    deliver(path, *bounces(shop, 3))
    assert BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all(2).total() == 2
    assert len(names(path / "cur")) == 2


def test_it_ends_between_two_batches(shop: Shop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounce_intake, "BATCH", 2)
    deliver(path, *bounces(shop, 5))
    BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all(is_stopped=lambda: True)
    assert len(names(path / "cur")) == 2


def test_nothing_is_marked_while_the_database_is_away(shop: Shop, path: Path) -> None:
    deliver(path, *bounces(shop, 2))
    faulty = Faulty(shop.database, Recognizer(TOKENS, DOMAIN))
    with pytest.raises(DatabaseAway):
        BounceIntake(shop.database, faulty, Maildir(path)).take_all()
    assert (len(names(path / "new")), names(path / "cur")) == (2, set())
    assert BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all() == {Result.ACTED: 2}


def test_one_message_that_cannot_be_taken_stops_no_other_and_is_left(shop: Shop, path: Path) -> None:
    first, bad, last = bounces(shop, 3)
    deliver(path, first)
    (name,) = deliver(path, bad)
    deliver(path, last)
    poison = sha256(bad).hexdigest()
    faulty = Faulty(shop.database, Recognizer(TOKENS, DOMAIN))
    faulty.error = ZeroDivisionError()
    faulty.bad = lambda found: any(key == poison for key, _ in found)
    counts = BounceIntake(shop.database, faulty, Maildir(path)).take_all()
    assert counts == {Result.ACTED: 2, bounce_intake.FAILED: 1}
    assert (names(path / "new"), codes(shop)) == ({name}, {"BOUNCED": 2, None: 1})


def test_a_message_that_cannot_be_read_is_left(shop: Shop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_content: bytes) -> Report:
        raise RecursionError

    monkeypatch.setattr(messages, "read", read)
    deliver(path, letter())
    assert BounceIntake(shop.database, intake_of(shop), Maildir(path)).take_all() == {Result.UNMATCHED: 1}
    assert names(path / "cur") == set()


def test_one_message_on_its_own_is_taken_and_judged(shop: Shop) -> None:
    (sent,) = bounces(shop, 1)
    assert judge_one(intake_of(shop), sent).taken.result is Result.ACTED
    assert take_one(intake_of(shop), sent).taken.result is Result.ACTED
    assert take_one(intake_of(shop), sent).taken.result is Result.REPEATED
    assert shop.ask("SELECT source FROM report")[0].source == "stdin"


# Killed


@contextmanager
def filled(kind: str, folder: Path, messages: list[bytes]) -> Iterator[str]:
    """Yields where a mailbox with these messages is."""
    if kind == "maildir":
        deliver(new_maildir(folder / "maildir"), *messages)
        yield str(folder / "maildir")
    elif kind == "mbox":
        (folder / "mbox").write_bytes(b"".join(map(in_mbox, messages)))
        yield str(folder / "mbox")
    else:
        with dovecot() as server:
            deliver(server.maildir, *messages)
            yield server.url


def run(module: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


needs_dovecot = pytest.mark.skipif(not PROGRAM, reason="dovecot is not installed")


@pytest.mark.parametrize(
    ("kind", "deaths"), [("maildir", 8), ("mbox", 7), pytest.param("imap", 8, marks=needs_dovecot)]
)
def test_a_reader_that_is_killed_at_any_step_loses_nothing_and_does_nothing_twice(
    sqlite_url: str, tmp_path: Path, kind: str, deaths: int
) -> None:
    with shop_at(sqlite_url) as shop:
        sent = bounces(shop, 40)
        with filled(kind, tmp_path, [each for one in sent for each in (one, letter())]) as place:
            died = run("tests.contract.services.dying_reader", kind, place, sqlite_url)
            assert len(died) >= deaths, died
            dying_reader.read(kind, place, sqlite_url)
            assert_all_were_taken(shop, len(sent))
            dying_reader.read(kind, place, sqlite_url)
            assert_all_were_taken(shop, len(sent))


def assert_all_were_taken(shop: Shop, number: int) -> None:
    assert codes(shop) == {"BOUNCED": number}
    (row,) = shop.ask(
        "SELECT count(*) AS many, count(DISTINCT request_id) AS mails FROM report WHERE request_id IS NOT NULL"
    )
    assert (row.many, row.mails) == (number, number)
