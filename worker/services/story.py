"""The story of one request in sentences: why its customer was told or was not, and what would change that. Pure.

In: the rows that `store.stories` reads. Out: one sentence that says it all, what happened in the order of time, and for
a request that waits why, its place in line, and what would move it. Times are UTC.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import compared_options, options_from_text
from worker.domain.difference import difference
from worker.domain.outcomes import TEMPLATE_ERROR, FailureCode
from worker.domain.reply_rules import ReplyRules
from worker.domain.stock import WHOLE_ITEM, matches
from worker.models import Status
from worker.services.story_words import (
    CAUSES,
    REPORTS,
    TRIES,
    VERBS,
    at_words,
    count_words,
    item_words,
    later_words,
    options_words,
    ordinal,
    pauses_words,
    quoted,
    reply_meaning,
    resume_command,
    span_words,
)
from worker.services.wire import timestamp
from worker.store.admin import NEED_FORCE
from worker.store.reports import EARLY_SECONDS
from worker.store.stories import MOST_COUNTED, Known

_FOR_GOOD: Final = frozenset({FailureCode.RECIPIENT_REJECTED, FailureCode.INVALID_ADDRESS, FailureCode.BOUNCED})
"""What another mail to the same address would hardly change."""
RESOLUTION: Final = timedelta(seconds=2)
"""Two times are told apart only if they differ by more."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened."""

    at: datetime
    words: str
    tone: str = ""
    """`good`, `bad`, `warn` or nothing"""
    quote: str | None = None
    """what others said: a relay, a report"""
    note: str | None = None
    """a sentence that explains it"""

    def as_json(self) -> dict[str, object]:
        """Returns the moment as JSON, without what it does not have."""
        found = {"at": timestamp(self.at), "words": self.words, "quote": self.quote, "note": self.note}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Story:
    """The story of one request."""

    request: Any
    """its row"""
    sentence: str
    moments: Sequence[Moment]
    """oldest first"""
    place: str | None = None
    """its place in line, if it is in one"""
    moves: Sequence[str] = ()
    """what would move it, if it waits"""
    mail_id: UUID | None = None
    """the request in whose mail it was told, if that was another one's"""
    path: frozenset[str] = field(default=frozenset())
    """the arrows between its states that it went: `claim`, `back`, `tell`, `fail`, `end`, `mark`, `bounce`, `retry`"""

    def as_json(self) -> dict[str, object]:
        """Returns the story as JSON."""
        return {
            "sentence": self.sentence,
            "place": self.place,
            "moves": list(self.moves),
            **({"mailId": str(self.mail_id)} if self.mail_id else {}),
            "story": [moment.as_json() for moment in self.moments],
        }


def tell(known: Known, rules: ReplyRules) -> Story:
    """Returns the story."""
    facts = _Facts(known, rules)
    return Story(
        known.request,
        facts.sentence(),
        tuple(sorted(facts.moments(), key=lambda moment: moment.at)),
        facts.place(),
        tuple(facts.moves()),
        facts.mail_id(),
        facts.path(),
    )


_TOGETHER: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Woke:
    """What made the request due: an event, or a change of policies. `at` is when it was applied."""

    at: datetime
    event: Any | None
    """None: a change of policies, or an event that is not kept any more"""


class _Facts:
    """What is known of a request, and the sentences about it."""

    def __init__(self, known: Known, rules: ReplyRules) -> None:
        self._known = known
        self._row = known.request
        self._rules = rules
        self._name = self._row.name or self._row.catalog_item_id
        self._item = item_words(self._row)
        self._spelled = options_from_text(self._row.options)
        self._wanted = compared_options(self._row.options_key or self._row.options)
        self._status = Status(self._row.status)
        self._ended = self._row.notified_date or self._row.failed_at
        since = sorted((event for event in known.events if event.at > self._row.created_date), key=_applied_at)
        self._events = [event for event in since if self._ended is None or event.at <= self._ended]
        self._woke = self._waking()

    # which events reach it

    def _reaches(self, event: Any) -> bool:
        """Whether an event counts for this request. What the whole item's counted for is known only of the last one."""
        about = compared_options(event.options)
        if about != WHOLE_ITEM:
            return matches(self._wanted, about)
        if not event.in_stock or event.at == self._row.last_in_stock_at:
            return True
        has_variant = any(other != WHOLE_ITEM and matches(self._wanted, other) for other in self._known.levels)
        return not has_variant or not self._wanted

    def _waking(self) -> _Woke | None:
        """The newest in-stock event since the sign-up that counts."""
        event = next((each for each in reversed(self._events) if each.in_stock and self._reaches(each)), None)
        seen = self._row.last_in_stock_at
        is_since = seen and seen > self._row.created_date and (self._ended is None or seen <= self._ended)
        if is_since and (event is None or (self._known.policies_set and event.at < seen)):
            return _Woke(seen, None)
        return event and _Woke(event.at, event)

    def _out(self) -> Any | None:
        """The newest event that says that there is no stock, if it is newer than the one that woke."""
        for event in reversed(self._events):
            if self._reaches(event):
                return None if event.in_stock else event
        return None

    def _missed(self) -> Any | None:
        """The newest in-stock event that did not count for this request."""
        return next((event for event in reversed(self._events) if event.in_stock and not self._reaches(event)), None)

    # the sentence

    def sentence(self) -> str:
        """All of it in one sentence, or two."""
        return " ".join(filter(None, (self._outcome(), self._beside())))

    def _outcome(self) -> str:
        match self._status:
            case Status.RECEIVED:
                return f"Waits since {at_words(self._row.created_date)}: {self._why_it_waits()}."
            case Status.PROCESSING:
                since = (
                    span_words((self._row.now - self._row.claimed_at).total_seconds()) if self._row.claimed_at else ""
                )
                return f"Is being told now: a worker took it {since} ago." if since else "Is being told now."
            case Status.NOTIFICATION_SENT:
                return self._told()
            case Status.FAILED:
                return self._failed()

    def _told(self) -> str:
        told = self._row.notified_date
        when = at_words(told) if told else "a day that is not known"
        if self._row.auto_notified is False:
            by = self._who("mark-sent")
            return f"Marked as told by other means on {when}{by and f' by {by}'}. Stockbell sent no mail for it."
        if self._row.ordered_at and told:
            by = self._who("report", "retry")
            after = span_words((told - self._row.ordered_at).total_seconds())
            return f"Told on {when}, {after} after {by or 'an admin'} ordered it."
        if self._woke and told:
            return f"Told on {when}, {span_words((told - self._woke.at).total_seconds())} after the restock."
        return f"Told on {when}."

    def _beside(self) -> str:
        """What else its mail told of."""
        mail = self._known.together
        if mail is None:
            return ""
        if mail.mail_id == self._row.id:
            return f"Its mail told of {count_words(mail.others, 'other request')} as well."
        of_which = f"that of request {mail.mail_id}{'' if mail.is_there else ', which was deleted since'}"
        return f"It was told in the same mail as {count_words(mail.others, 'other')}: {of_which}."

    def mail_id(self) -> UUID | None:
        """The request in whose mail it was told, if that was another one's."""
        mail = self._known.together
        return mail.mail_id if mail and mail.mail_id != self._row.id else None

    def _failed(self) -> str:
        row = self._row
        when = f" on {at_words(row.failed_at)}" if row.failed_at else ""
        words = f": {quoted(row.failure_reason)}" if row.failure_reason else ""
        match row.failure_code:
            case FailureCode.RECIPIENT_REJECTED:
                return f"Not told: the relay refused the address{when}{words}."
            case FailureCode.MESSAGE_REJECTED:
                return f"Not told: the relay refused the mail{when}{words}."
            case FailureCode.INVALID_ADDRESS:
                return f"Not told: no mail can be sent to this address{when}{words}."
            case FailureCode.SUPPRESSED:
                return f"Not told, and no mail was sent: {self._why_suppressed()}. The request ended{when}."
            case FailureCode.RETRIES_EXHAUSTED:
                tries = count_words(row.attempts, "try", "tries")
                return f"Not told: the relay put the mail off until {tries} were spent{when}{words}."
            case FailureCode.OUTCOME_UNKNOWN:
                return f"May have been told: the mail was handed over, but no answer came{when}{words}."
            case FailureCode.MISSING_ITEM_URL:
                return f"Not told: no link to {self._name} was known for the mail{when}."
            case FailureCode.EXPIRED:
                return f"Not told: the request waited longer than requests are kept, and expired{when}."
            case FailureCode.BOUNCED:
                told = (
                    f"The relay took the mail on {at_words(row.notified_date)}, but it" if row.notified_date else "It"
                )
                return f"{told} came back{when}{words}."
        return f"Not told: the request ended{when} as {row.failure_code}{words}."

    def _why_suppressed(self) -> str:
        row = self._row
        if row.suppressed_at:
            by = f", as {row.suppressed_by} told" if row.suppressed_by else ""
            why = CAUSES.get(row.suppressed_why, row.suppressed_why)
            return f"the customer {why}{by}, on {at_words(row.suppressed_at)}"
        return row.failure_reason or "the customer wanted no mail"

    def _why_it_waits(self) -> str:
        row = self._row
        match row.waiting:
            case "unconfirmed":
                return self._unconfirmed()
            case "paused":
                return f"sending is paused {pauses_words(self._known.pauses)}"
            case "backoff":
                what = "no mail can be made" if row.failure_code == TEMPLATE_ERROR else "the relay put its mail off"
                words = f" ({quoted(row.failure_reason)})" if row.failure_reason else ""
                return f"{what}{words}, and it is tried again on {at_words(row.not_before)}"
            case "interval":
                return f"the customer had a mail a while ago, and gets no other one before {at_words(row.not_before)}"
            case "noStock":
                return self._no_stock()
            case "soldOut":
                return self._sold_out()
            case "quietHours":
                return f"it is due, and quiet hours hold all mails until {at_words(row.quiet_until)}"
            case "settling":
                until = f" until {at_words(row.settles_at)}" if row.settles_at else ""
                return f"{self._back()}, and has to stay in stock{until} before anybody is told"
            case "wave":
                begins = f" begins on {at_words(row.opens_at)}" if row.opens_at else " is to come"
                return f"{self._back()}, but all seats of this wave are taken; the next one{begins}"
            case "relayDown":
                relay = self._known.relay
                since = f" since {at_words(relay.since)}" if relay.since else ""
                return f"it is due, but no mail can be sent{since}{f': {quoted(relay.reason)}' if relay.reason else ''}"
        return self._queued()

    def _unconfirmed(self) -> str:
        asked = self._known.confirmation
        if asked is None:
            return "the customer has not confirmed, and is not asked any more"
        if asked.due_at and asked.why:
            return f"the customer has not confirmed; the mail that asks could not be sent yet: {quoted(asked.why)}"
        if asked.due_at:
            return "the customer has not confirmed; the mail that asks is about to be sent"
        if asked.why:
            return f"the customer has not confirmed; the mail that asks could not be sent: {quoted(asked.why)}"
        sent = at_words(asked.sent_at or asked.asked_at)
        return f"the customer has not confirmed; they were asked by mail on {sent}"

    def _no_stock(self) -> str:
        missed = self._missed()
        if missed is not None:
            return f"{self._item} has not come back; {self._missed_words(missed)}"
        if self._row.in_stock:
            return f"{self._item} was in stock already at the sign-up, and no event has said so again since"
        return f"{self._item} has not come back in stock since"

    def _missed_words(self, event: Any) -> str:
        about = options_from_text(event.options)
        if not about:
            return (
                f"the event of {at_words(event.at)} was about the whole item, and {options_words(self._spelled)} "
                "has stock of its own that events tell"
            )
        wants = options_words(self._spelled) or "any"
        return f"the event of {at_words(event.at)} was about {options_words(about)}, and they wait for {wants}"

    def _sold_out(self) -> str:
        back = f"came back on {at_words(self._woke.at)}, but " if self._woke else ""
        out = self._out()
        if out is None:
            return f"{self._item} {back}is sold out now"
        said = "no stock" if out.quantity is None else f"{out.quantity:,}"
        since = later_words(out.at, self._woke.at if self._woke else None)
        return f"{self._item} {back}is sold out since {since}, when an event said {said}"

    def _back(self) -> str:
        return f"{self._item} is back since {at_words(self._woke.at)}" if self._woke else f"{self._item} is in stock"

    def _queued(self) -> str:
        row = self._row
        if row.ordered_at:
            by = self._who("report", "retry")
            due = f"{by or 'an admin'} ordered on {at_words(row.ordered_at)} to tell them whatever the stock"
        else:
            due = self._back()
        if not self._known.workers:
            return f"{due}, but no worker is running"
        return f"{due}, and the mail is about to be sent"

    # the place, and what would move it

    def place(self) -> str | None:
        """The place in line, by the order in which requests are claimed."""
        line = self._known.line
        if line is None:
            return None
        if line.before >= MOST_COUNTED:
            return f"More than {MOST_COUNTED:,} are told before this one, of all who wait for {self._item}."
        if line.total <= 1:
            return f"The only one in line for {self._item}."
        total = f"over {MOST_COUNTED:,}" if line.total >= MOST_COUNTED else f"{line.total:,}"
        priority = f", with priority {self._row.priority}" if self._row.priority else ""
        return f"{ordinal(line.before + 1)} of {total} in line for {self._item}{priority}."

    def moves(self) -> Iterator[str]:
        """What would have to happen for the customer to be told."""
        if self._status is Status.FAILED:
            yield from self._moves_failed()
        if self._status is not Status.RECEIVED:
            return
        row = self._row
        for pause in self._known.pauses:
            yield f"Sending has to be resumed: `{resume_command(pause, row)}`."
        match row.waiting:
            case "unconfirmed":
                yield f"They have to follow the link in the mail that asks them. Then they wait for {self._item}."
            case "noStock" | "soldOut":
                yield f"{self._next_event()}{self._how_fast(' of it')}."
            case "backoff":
                yield "Nothing has to be done: it is tried again by itself."
            case "interval":
                yield "Nothing has to be done: they are told then, if it is still in stock."
            case "quietHours":
                yield f"Nothing has to be done: mails go out again on {at_words(row.quiet_until)}."
            case "settling":
                yield "Nothing has to be done: they are told then, if it is still in stock."
            case "wave":
                yield "Nothing has to be done: the next wave begins by itself, if pieces are left."
            case "relayDown":
                probe = f", next on {at_words(self._known.relay.probe_at)}" if self._known.relay.probe_at else ""
                yield f"The relay has to take mail again. It is tried by itself{probe}."
            case "queued" if not self._known.workers:
                yield "A worker has to be started: `stockbell work`."
            case "queued":
                yield f"Nothing has to be done{self._how_fast()}."
        if row.waiting in ("interval", "noStock", "soldOut", "settling", "wave"):
            yield f"An admin can have them told whatever the stock: `stockbell report {row.id}`."

    def _next_event(self) -> str:
        options = options_words(self._spelled)
        for_what = f"for {options} of {self._name}" if options else f"for {self._name} or one of its variants"
        return f"They would be told after the next in-stock event {for_what}"

    def _how_fast(self, of: str = "") -> str:
        line, rate = self._known.line, self._known.rate
        if not rate or line is None:
            return ""
        more = "at least " if line.before >= MOST_COUNTED else ""
        return f"; at the rate of the last hour within {more}{span_words((line.before + 1) / rate)}{of}"

    def _moves_failed(self) -> Iterator[str]:
        row = self._row
        if row.suppressed_at:
            yield "They get no mail until the suppression ends: `stockbell contacts unsuppress ADDRESS`."
            return
        needs_force = row.failure_code in NEED_FORCE
        if row.failure_code in _FOR_GOOD:
            yield "The same address is likely to fail again: the customer has to give another one."
        yield f"An admin can send it again: `stockbell retry {row.id}{' --force' if needs_force else ''}`."

    # what happened

    def moments(self) -> Iterator[Moment]:
        """What happened, in no order."""
        yield self._sign_up()
        yield from self._asked()
        yield from self._event_moments()
        yield from map(self._try, self._known.attempts)
        yield from self._claimed()
        yield from map(self._report, self._known.reports)
        yield from self._suppressed()
        yield from (moment for action in self._known.actions for moment in self._action(action))
        yield from self._ordered()
        yield from self._end()

    def _sign_up(self) -> Moment:
        signup = _json(self._row.signup)
        if signup is None:
            how = "By an import or by the command line: there is no key and no page."
            return Moment(self._row.created_date, f"Asked to be told about {self._item}.", note=how)
        by = "by the form on a page" if signup.get("public") else "through the API"
        page = f", on {signup['page']}" if signup.get("page") else ""
        language = f", in {self._row.locale}" if self._row.locale else ""
        consent = f" They agreed to “{signup['consent']}”." if signup.get("consent") else ""
        words = f"Signed up {by} (key {signup.get('key', 'not known')}){page}{language}.{consent}"
        return Moment(self._row.created_date, f"Asked to be told about {self._item}.", note=words)

    def _asked(self) -> Iterator[Moment]:
        asked = self._known.confirmation
        if asked and asked.sent_at and not asked.why:
            yield Moment(asked.sent_at, "Asked by mail to confirm.")
        elif asked and asked.sent_at:
            yield Moment(asked.sent_at, "The mail that asks to confirm could not be sent.", "bad", asked.why)
        if confirmed := self._row.confirmed_at:
            yield Moment(confirmed, "The customer confirmed that the address is theirs.", "good")

    def _event_moments(self) -> Iterator[Moment]:
        groups: list[list[Any]] = []
        for event in self._events:
            if not event.in_stock and not self._reaches(event):
                continue
            last = groups[-1][-1] if groups else None
            if last and (last.options, last.in_stock) == (event.options, event.in_stock):
                groups[-1].append(event)
            else:
                groups.append([event])
        yield from map(self._event_moment, groups)
        if self._woke and self._woke.event is None:
            why, note = "", "The event itself is not kept any more."
            if change := self._known.policies_set:
                why, note = ", since its policies were changed", f"By {change.who}: `{change.command}`."
            yield Moment(self._woke.at, f"{self._item} came in stock{why}. This woke the request.", "good", note=note)

    def _event_moment(self, group: Sequence[Any]) -> Moment:
        """One moment for events that said the same one after the other."""
        waker = self._woke.event if self._woke else None
        event = waker if waker is not None and any(each is waker for each in group) else group[0]
        about = options_words(options_from_text(event.options))
        what = f"{self._name} ({about})" if about else self._name
        pieces = "" if event.quantity is None else f": {count_words(event.quantity, 'piece')}"
        reaches = self._reaches(event)
        went = "counted as out of stock" if (event.quantity or 0) > 0 else "went out of stock"
        words = f"{what} {'came in stock' if event.in_stock else went}{pieces}."
        if event.in_stock and not reaches:
            words = f"{words} This did not count here: {self._why_not(event)}."
        elif event is waker:
            words = f"{words} This woke the request."
        notes = [f"Event {event.event_id or event.entry_id}."]
        if event.at - event.occurred_at > RESOLUTION:
            notes.append(f"It says that this happened on {at_words(event.occurred_at)}.")
        if len(group) > 1:
            notes.append(
                f"{count_words(len(group), 'event')} said so, from {at_words(group[0].at)} to {at_words(group[-1].at)}."
            )
        return Moment(event.at, words, "good" if event.in_stock and reaches else "", note=" ".join(notes))

    def _why_not(self, event: Any) -> str:
        about = options_from_text(event.options)
        if not about:
            return "it was about the whole item, and events about the variant decide"
        return difference(self._spelled, about) or "it was about other options"

    def _try(self, attempt: Any) -> Moment:
        words, tone = TRIES.get(attempt.event, (f"A try ended: {attempt.event}.", "warn"))
        if attempt.event in ("rescued", "not made"):
            return Moment(attempt.at, words, tone, attempt.reply)
        return Moment(attempt.at, words, tone, attempt.reply, reply_meaning(self._rules, attempt.reply))

    def _claimed(self) -> Iterator[Moment]:
        if self._status is Status.PROCESSING and self._row.claimed_at:
            yield Moment(self._row.claimed_at, f"A worker took it (claim {self._row.claim_no}).")

    def _report(self, report: Any) -> Moment:
        words, tone = REPORTS.get(report.kind, (f"A report came back: {report.kind}.", ""))
        is_its_mail = report.request_id in (None, self._row.id) or self._is_about_mail(report)
        tone, about = (tone, "") if is_its_mail else ("", " It was about another mail to this customer.")
        return Moment(report.at, words, tone, report.words or report.status, f"It came in by {report.source}.{about}")

    def _is_about_mail(self, report: Any) -> bool:
        """Whether a report that names another request is about the mail in which this one was told."""
        earliest = timedelta(seconds=EARLY_SECONDS)
        return report.request_id == self.mail_id() and bool(report.at > self._row.notified_date - earliest)

    def _suppressed(self) -> Iterator[Moment]:
        row = self._row
        if row.suppressed_at:
            words = f"No mail is sent to this customer any more: the customer {CAUSES.get(row.suppressed_why, '')}."
            yield Moment(row.suppressed_at, words, "bad", note=f"Told by: {row.suppressed_by}.")

    def _action(self, action: Any) -> Iterator[Moment]:
        if action.state == "preview":
            return
        verb = VERBS.get(action.verb.removeprefix("contacts ").removeprefix("requests "), f"did “{action.verb}”")
        options = _json(action.options) or {}
        how = " (whatever the stock)" if action.verb == "retry" and options.get("ordered") else ""
        if action.refusal:
            yield Moment(action.at, f"{action.who} wanted to: {action.verb}. It was refused.", "warn", action.refusal)
            return
        yield Moment(action.at, f"{action.who} {verb}{how}.")
        if action.undone_at and action.state == "undone":
            yield Moment(action.undone_at, f"That was undone: {action.verb}.")

    def _ordered(self) -> Iterator[Moment]:
        if self._row.ordered_at and not self._who("report", "retry"):
            yield Moment(self._row.ordered_at, "An admin or the API ordered to tell them whatever the stock.")

    def _end(self) -> Iterator[Moment]:
        row = self._row
        if row.notified_date and row.auto_notified:
            words = (
                "Told: the relay took the mail." if row.receipt else "Told: the relay took the mail (words not kept)."
            )
            note = None if row.seat_wave is None else f"It had a seat of wave {row.seat_wave:,}."
            yield Moment(row.notified_date, words, "good", row.receipt, note)
        elif row.notified_date:
            yield Moment(row.notified_date, "Marked as told by other means.", "good")
        if self._status is Status.FAILED and row.failed_at:
            # The try and its outcome are written together, the outcome first.
            with_it = [each.at for each in self._known.attempts if each.at - row.failed_at < _TOGETHER]
            at = max([row.failed_at, *with_it])
            yield Moment(at, f"The request failed: {row.failure_code}.", "bad", row.failure_reason)

    def _who(self, *verbs: str) -> str:
        done = (each for each in self._known.actions if each.verb in verbs and not each.refusal)
        return next((str(each.who) for each in done), "")

    # the path

    def path(self) -> frozenset[str]:
        """The arrows that it went, as far as the rows tell."""
        row, known = self._row, self._known
        tries = {attempt.event for attempt in known.attempts}
        is_told = bool(row.notified_date and row.auto_notified)
        is_retried = bool(self._who("retry")) or ("rejected" in tries and self._status is not Status.FAILED)
        ends = 1 if is_retried and tries else 0  # a claim that ended with a failure before
        arrows = {
            "claim": row.claim_no > 0,
            "back": row.claim_no - ends > (0 if self._status is Status.RECEIVED else 1),
            "tell": is_told,
            "mark": self._status is Status.NOTIFICATION_SENT and row.auto_notified is False,
            "bounce": row.failure_code == FailureCode.BOUNCED,
            "fail": bool(ends) or (self._status is Status.FAILED and bool(row.auto_notified) and not is_told),
            "end": self._status is Status.FAILED and row.auto_notified is None,
            "retry": is_retried,
        }
        return frozenset(name for name, is_taken in arrows.items() if is_taken)


def _applied_at(event: Any) -> datetime:
    at: datetime = event.at
    return at


def _json(text: str | None) -> Mapping[str, Any] | None:
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) else None
