"""The commands on a pipelined connection, and what each reply means for each mail. No connection is needed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from worker.domain.outcomes import FailureCode, NotSent, Outcome, Rejected, RelayDown, Scope, Sent, Unknown
from worker.domain.replies import Stage
from worker.domain.return_path import ReturnPath
from worker.smtp.envelope import Envelope
from worker.smtp.exchange import Exchange
from worker.smtp.rules import Mail, Turn

ENVELOPE = "MAIL FROM:<shop@shop.example>\r\nRCPT TO:<{}@example.com>\r\nDATA\r\n"
GO_AHEADS = [(250, b"2.1.0 ok"), (250, b"2.1.5 ok"), (354, b"go ahead"), (250, b"2.0.0 ok")]
LEAVING = (421, b"4.3.2 closing down")


def mail(name: str) -> Mail:
    return Mail(UUID(int=ord(name[0])), f"{name}@example.com", f"Mail {name}\r\n.\r\n".encode())


@dataclass
class Desk:
    """A turn's source with a few more mails. It remembers what was reported."""

    waiting: list[Mail] = field(default_factory=list)
    is_full: bool = False
    unwanted: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def next_now(self) -> Mail | None:
        return self.waiting.pop(0) if self.waiting else None

    def rest(self, go_on: Callable[[], None], *, is_amid: bool = False) -> bool:
        return False

    def may_write(self) -> bool:
        return not self.is_full

    def is_wanted(self, mail: Mail) -> bool:
        return mail.recipient[0] not in self.unwanted

    def report(self, mail: Mail, outcome: Outcome) -> None:
        assert mail.recipient[0] not in self.outcomes
        self.outcomes[mail.recipient[0]] = outcome

    @property
    def turn(self) -> Turn:
        return Turn(self.next_now, self.rest, self.may_write, self.is_wanted, self.report)


class Talk:
    """An exchange of the mails a, b, ... that takes the replies of one packet at a time and keeps what it writes."""

    def __init__(self, names: str, *, ahead: bool = True) -> None:
        self.desk = Desk([mail(name) for name in names])
        self.exchange = Exchange("relay.example:25", Envelope(ReturnPath("shop@shop.example")))
        self.ahead = ahead
        self.written: list[str] = []
        self.write()

    def hear(self, *replies: tuple[int, bytes]) -> None:
        for code, text in replies:
            if not self.exchange.is_over:
                self.exchange.hear(code, text, self.desk.turn)
        self.write()

    def write(self) -> None:
        if not self.exchange.is_over and not self.exchange.is_asking:
            data = self.exchange.next_bytes(self.desk.turn, ahead=self.ahead)
            if data:
                self.written.append(data.decode())

    def kind(self, name: str) -> type[Outcome] | None:
        return type(self.desk.outcomes[name]) if name in self.desk.outcomes else None

    @property
    def unsent(self) -> str | None:
        unsent = self.exchange.unsent()
        return unsent.recipient[0] if unsent else None


def test_a_mail_and_the_commands_for_the_next_are_one_write() -> None:
    talk = Talk("abc")
    for _ in range(3):
        talk.hear(*GO_AHEADS[:3])
        talk.hear(GO_AHEADS[3])
    assert talk.written == [
        ENVELOPE.format("a"),
        "Mail a\r\n.\r\n" + ENVELOPE.format("b"),
        "Mail b\r\n.\r\n" + ENVELOPE.format("c"),
        "Mail c\r\n.\r\n",
    ]
    assert [talk.kind(name) for name in "abc"] == [Sent] * 3
    assert talk.exchange.mails == 3
    assert not talk.exchange.is_over
    assert talk.unsent is None


def test_one_after_the_other_where_nothing_goes_ahead() -> None:
    talk = Talk("ab", ahead=False)
    for _ in range(2):
        talk.hear(*GO_AHEADS[:3])
        talk.hear(GO_AHEADS[3])
    assert talk.written == [ENVELOPE.format("a"), "Mail a\r\n.\r\n", ENVELOPE.format("b"), "Mail b\r\n.\r\n"]
    assert [talk.kind(name) for name in "ab"] == [Sent] * 2


@pytest.mark.parametrize(
    ("position", "outcome_a", "outcome_b", "unsent"),
    [
        (0, RelayDown, None, None),
        (1, RelayDown, None, None),
        (2, RelayDown, None, None),
        (3, RelayDown, None, "b"),
        (4, Sent, None, "b"),  # the relay has only had enough of this connection
        (5, Sent, RelayDown, None),
        (6, Sent, RelayDown, None),
        (7, Sent, RelayDown, None),
    ],
)
@pytest.mark.parametrize("ending", ["421", "left", "silent", "garbled"])
def test_the_end_at_each_position(
    position: int, outcome_a: type[Outcome], outcome_b: type[Outcome] | None, unsent: str | None, ending: str
) -> None:
    talk = Talk("ab")
    for reply in (GO_AHEADS * 2)[:position]:
        talk.hear(reply)
    if ending == "421":
        talk.hear(LEAVING)
    else:
        talk.exchange.break_off("it is " + ending, talk.desk.turn, has_left=ending == "left")
        # Only a 421 says that the relay did not take the mail.
        outcome_a, outcome_b = (Unknown if position == 3 else outcome_a), (Unknown if position == 7 else outcome_b)
        if position == 4 and ending != "left":
            outcome_b, unsent = RelayDown, None
    assert talk.exchange.is_over
    assert (talk.kind("a"), talk.kind("b"), talk.unsent) == (outcome_a, outcome_b, unsent)
    stages = [outcome.stage for outcome in talk.desk.outcomes.values() if isinstance(outcome, RelayDown)]
    assert stages in ([], [(Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)[position % 4]])


@pytest.mark.parametrize("position", range(8))
def test_closed_by_us_at_each_position(position: int) -> None:
    talk = Talk("ab")
    for reply in (GO_AHEADS * 2)[:position]:
        talk.hear(reply)
    leftovers = {mail.recipient[0]: type(outcome) for mail, outcome in talk.exchange.leftovers()}
    assert leftovers == (
        {"a": NotSent}
        if position < 3
        else {"a": Unknown, "b": NotSent}
        if position == 3
        else {"b": NotSent}
        if position < 7
        else {"b": Unknown}
    )
    assert talk.exchange.leftovers() == []


@pytest.mark.parametrize("code", [503, 554, 451])
def test_after_a_refused_recipient_and_data_the_next_begins_with_rset(code: int) -> None:
    talk = Talk("ab")
    talk.hear((250, b"ok"), (550, b"5.1.1 no such user"))
    assert talk.kind("a") is Rejected
    assert talk.written == [ENVELOPE.format("a")]
    talk.hear((code, b"no recipients"))
    assert talk.written[1] == "RSET\r\n" + ENVELOPE.format("b")
    talk.hear((250, b"reset"), *GO_AHEADS[:3])
    talk.hear(GO_AHEADS[3])
    assert talk.kind("b") is Sent


@pytest.mark.parametrize("reply", [(250, b"queued"), (554, b"no recipients"), (503, b"no recipients"), (451, b"later")])
def test_a_refused_recipient_whose_data_is_welcome_gets_a_lone_dot(reply: tuple[int, bytes]) -> None:
    talk = Talk("abc")
    talk.hear((250, b"ok"), (550, b"5.1.1 no such user"), (354, b"go ahead"))
    assert talk.written[1] == ".\r\n" + ENVELOPE.format("b")
    talk.hear(reply, *GO_AHEADS[:3])
    talk.hear(GO_AHEADS[3])
    assert [talk.kind(name) for name in "ab"] == [Rejected, Sent]
    assert not talk.exchange.is_over


def test_a_lone_dot_to_which_the_relay_leaves_costs_nobody_anything() -> None:
    talk = Talk("ab")
    talk.hear((250, b"ok"), (550, b"5.1.1 no such user"), (354, b"go ahead"))
    talk.hear(LEAVING)
    assert (talk.kind("a"), talk.kind("b"), talk.unsent) == (Rejected, None, "b")


@pytest.mark.parametrize(
    "replies",
    [
        [(451, b"later"), (250, b"ok"), (354, b"go ahead")],
        [(451, b"later"), (503, b"no"), (354, b"go ahead")],
        [(250, b"ok"), (550, b"5.1.1 no"), (250, b"ok")],
        [(250, b"ok"), (550, b"5.1.1 no"), LEAVING],
        [(451, b"later"), LEAVING],
    ],
)
def test_replies_that_can_not_be_end_the_connection_without_a_dot(replies: list[tuple[int, bytes]]) -> None:
    talk = Talk("ab")
    talk.hear(*replies)
    assert talk.exchange.is_over
    assert talk.written == [ENVELOPE.format("a")]
    assert len(talk.desk.outcomes) == 1
    assert talk.unsent is None
    assert len(talk.desk.waiting) == 1


@pytest.mark.parametrize("extra", [(250, b"ok"), (354, b"go ahead"), (550, b"no"), LEAVING])
def test_a_reply_too_many_after_354_stops_the_content(extra: tuple[int, bytes]) -> None:
    talk = Talk("ab")
    talk.hear(*GO_AHEADS[:3], extra)
    assert talk.written == [ENVELOPE.format("a")]
    outcome = talk.desk.outcomes["a"]
    assert isinstance(outcome, RelayDown)
    assert (outcome.scope, outcome.stage) == (Scope.RELAY, Stage.DATA)


def test_a_reply_too_many_can_not_make_a_mail_sent() -> None:
    talk = Talk("ab")
    talk.hear(*GO_AHEADS[:3])
    talk.hear(GO_AHEADS[3], (250, b"again"), *GO_AHEADS[:2])
    assert talk.kind("a") is Sent
    assert talk.kind("b") is RelayDown
    assert len(talk.written) == 2


def test_a_mail_that_is_not_wanted_any_more_is_not_written() -> None:
    talk = Talk("abc")
    talk.desk.unwanted = {"b"}
    talk.hear(*GO_AHEADS[:3])
    talk.hear(GO_AHEADS[3], *GO_AHEADS[:3])
    assert (talk.kind("a"), talk.kind("b"), talk.unsent) == (Sent, NotSent, None)
    assert talk.exchange.is_over
    assert len(talk.desk.waiting) == 1
    assert not any("Mail b" in data for data in talk.written)


def test_content_that_may_not_be_written_yet_waits() -> None:
    talk = Talk("ab")
    talk.desk.is_full = True
    talk.hear(*GO_AHEADS[:3])
    assert talk.exchange.is_held
    assert len(talk.written) == 1
    talk.desk.is_full = False
    talk.write()
    assert talk.written[1] == "Mail a\r\n.\r\n" + ENVELOPE.format("b")
    assert not talk.exchange.is_held


def test_a_relay_that_leaves_while_content_may_not_be_written_is_not_to_blame() -> None:
    talk = Talk("a")
    talk.desk.is_full = True
    talk.hear(*GO_AHEADS[:3])
    talk.exchange.break_off("it closed the connection", talk.desk.turn, has_left=True)
    assert talk.kind("a") is NotSent


def test_an_unusable_recipient_is_never_said_and_holds_up_nobody() -> None:
    desk = Desk([Mail(UUID(int=2), "a", b""), mail("b"), Mail(UUID(int=1), "c@x>\r\nRSET", b""), mail("d")])
    exchange = Exchange("relay.example:25", Envelope(ReturnPath("shop@shop.example")))
    assert exchange.next_bytes(desk.turn, ahead=True).decode() == ENVELOPE.format("b")
    for code, text in GO_AHEADS[:3]:
        exchange.hear(code, text, desk.turn)
    assert exchange.next_bytes(desk.turn, ahead=True).decode() == "Mail b\r\n.\r\n" + ENVELOPE.format("d")
    assert {name: outcome.code for name, outcome in desk.outcomes.items() if isinstance(outcome, Rejected)} == {
        "a": FailureCode.INVALID_ADDRESS,
        "c": FailureCode.INVALID_ADDRESS,
    }


@pytest.mark.parametrize("reply", [(550, b"no"), LEAVING, (503, b"what?")])
def test_a_connection_that_can_not_be_reset_is_left_and_the_mail_not(reply: tuple[int, bytes]) -> None:
    talk = Talk("ab")
    talk.hear((250, b"ok"), (550, b"5.1.1 no"), (503, b"no"))
    talk.hear(reply)
    assert talk.exchange.is_over
    assert (talk.kind("b"), talk.unsent) == (None, "b")
