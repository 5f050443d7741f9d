"""Judges a run: compares events, rows and the relay's own log, mail by mail. Pure.

The idea is Jepsen's. Of what the program says of itself, only the rows that it left count. Whatever can't be explained
by what was broken is a breach.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ENDED = {"NOTIFICATION_SENT", "FAILED"}
ALONE_AT = 2
"""After so many rescues a request is told alone. What its mail was about before is told by several mails then."""


@dataclass(frozen=True, slots=True)
class Request:
    """A row as the run left it."""

    address: str
    status: str
    auto_notified: bool | None = None
    is_dated: bool = False
    """Whether the row has a notified date."""
    attempts: int = 0
    rescues: int = 0
    failure_code: str | None = None
    failure_reason: str | None = None
    id: str = ""
    """Tells it from others of the same address, if there are any."""


@dataclass(frozen=True, slots=True)
class Try:
    """A line of the attempt log."""

    address: str
    event: str
    smtp_code: int | None = None
    request: str = ""
    """The id of its request."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that the relay took. The relay notes it before it says so."""

    recipient: str
    message_id: str
    client: str = ""
    """The address of the host that sent it."""
    at: float = 0.0
    """When the relay took it, in seconds of the machine's clock."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the relay said to one recipient instead of yes. The code is None if it left without a word."""

    recipient: str
    stage: str
    code: int | None = None
    took_it: bool = False
    """Whether the relay took the mail before it left."""


@dataclass(frozen=True, slots=True)
class Break:
    """Something that was broken while the relay took its mails from number `began` to number `ended`."""

    what: str
    began: int
    ended: int
    may_repeat: int = 0
    """How many mails may be sent again because of it (see `docs/architecture.md`)."""


@dataclass(frozen=True, slots=True)
class History:
    """All that is known about a run."""

    due: Collection[str]
    """The people whom a committed event woke."""
    requests: Sequence[Request]
    mails: Sequence[Mail]
    tries: Sequence[Try] = ()
    refusals: Sequence[Refusal] = ()
    breaks: Sequence[Break] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Why those wait who are RECEIVED, as the program tells it."""
    may_wait: Mapping[str, str] = field(default_factory=dict)
    """Who need not be told by the end of the run, and the only reason for which they may wait."""
    in_flight: int = 0
    """How many mails may be on their way when something breaks, and be taken after it."""
    max_attempts: int = 10
    counted: Mapping[str, int] | None = None
    """`stockbell_mails_total` by outcome, as `stockbell metrics` tells it after the run. None: it was not asked."""
    is_every_refusal_logged: bool = False
    """Whether no process was killed that may have lost outcomes with it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of the comparison."""

    due: int
    lost: int
    twice: int
    bound: int
    stuck: int
    breaches: list[str] = field(default_factory=list)
    waiting: int = 0
    """How many wait for a reason."""


def check(history: History) -> Findings:
    """Compares. Everything that breaks a promise is described in `breaches`."""
    rows: Mapping[str, list[Request]] = defaultdict(list)
    for request in history.requests:
        rows[request.address].append(request)
    copies = Counter(mail.recipient for mail in history.mails)
    theirs = [(address, request) for address in history.due for request in rows.get(address, [None])]
    left = [(address, request) for address, request in theirs if not _has_ended(request)]
    lost = [(address, request) for address, request in left if not _waits(history, request)]
    stuck = [request.address for request in history.requests if request.status == "PROCESSING"]
    allowed = sum(each.may_repeat for each in history.breaks) + sum(each.took_it for each in history.refusals)
    twice = sum(copies.values()) - len(copies)
    breaches = [f"lost: {address} is {_words(request)}{_why(history, address)}" for address, request in lost]
    breaches += [f"stuck in PROCESSING: {address}" for address in stuck]
    breaches += [f"told, but no event woke them: {address}" for address in copies if address not in history.due]
    if twice > allowed:
        breaches.append(f"sent twice: {twice} mails, and at most {allowed} may be")
    for judge in (_repeats, _message_ids, _rows, _failures, _attempts, _refusals, _counts):
        breaches += judge(history)
    return Findings(len(history.due), len(lost), twice, allowed, len(stuck), breaches, len(left) - len(lost))


def _has_ended(request: Request | None) -> bool:
    if request is None:
        return False
    return request.status == "NOTIFICATION_SENT" or (request.status == "FAILED" and bool(request.failure_reason))


def _waits(history: History, request: Request | None) -> bool:
    """Whether this request waits for the only reason for which it may. A state that says nothing of it is no reason."""
    if request is None or request.status != "RECEIVED":
        return False
    why = history.waiting.get(request.address)
    return why is not None and why == history.may_wait.get(request.address)


def _why(history: History, address: str) -> str:
    why = history.waiting.get(address)
    return f", waits for {why}" if why else ""


def _words(request: Request | None) -> str:
    return "missing" if request is None else f"{request.status}, {request.failure_code}, {request.attempts} attempts"


def _repeats(history: History) -> Iterator[str]:
    """Yields second copies without a cause.

    A cause is something that was broken between the two copies, or a relay that took the mail and left.
    """
    places: Mapping[str, list[int]] = defaultdict(list)
    for number, mail in enumerate(history.mails, 1):
        places[mail.recipient].append(number)
    excused = Counter(refusal.recipient for refusal in history.refusals if refusal.took_it)
    left = [each.may_repeat for each in history.breaks]
    for recipient, numbers in places.items():
        for first, second in list(pairwise(numbers))[excused[recipient] :]:
            causes = [
                place
                for place, each in enumerate(history.breaks)
                if first <= each.ended + history.in_flight and each.began < second and left[place] > 0
            ]
            if causes:
                left[causes[0]] -= 1
            else:
                yield f"sent twice for no reason: {recipient}, as mails {first} and {second}"


def _message_ids(history: History) -> Iterator[str]:
    ids: Mapping[str, set[str]] = defaultdict(set)
    owners: Mapping[str, set[str]] = defaultdict(set)
    for mail in history.mails:
        ids[mail.recipient].add(mail.message_id)
        owners[mail.message_id].add(mail.recipient)
    alone = Counter(each.address for each in history.requests if each.rescues >= ALONE_AT)
    yield from (
        f"more than one Message-ID: {recipient}"
        for recipient, found in ids.items()
        if len(found) > max(1, alone[recipient])
    )
    yield from (
        f"one Message-ID for {len(found)} people: {sorted(found)[0]}" for found in owners.values() if len(found) > 1
    )


def _rows(history: History) -> Iterator[str]:
    """Yields rows that don't agree with themselves or with what the relay took."""
    told = {mail.recipient for mail in history.mails}
    recorded = {request.address for request in history.requests if request.status == "NOTIFICATION_SENT"}
    for request in history.requests:
        address, status = request.address, request.status
        if request.auto_notified is not (True if status in ENDED else None):
            yield f"autoNotified is {request.auto_notified} though {status}: {address}"
        if request.is_dated != (status == "NOTIFICATION_SENT"):
            yield f"notified date and {status} don't agree: {address}"
        if status == "NOTIFICATION_SENT" and address not in told:
            yield f"NOTIFICATION_SENT, but the relay took no mail: {address}"
        if address in told - recorded and request.failure_code != "OUTCOME_UNKNOWN":
            yield f"the relay took a mail, but it is {_words(request)}: {address}"


def _failures(history: History) -> Iterator[str]:
    """Yields people who failed though the relay did not refuse them and no process died for them."""
    said: Mapping[str, list[Refusal]] = defaultdict(list)
    for refusal in history.refusals:
        said[refusal.recipient].append(refusal)
    for request in history.requests:
        if request.status != "FAILED":
            continue
        codes = [refusal.code for refusal in said[request.address]]
        match request.failure_code:
            case "RECIPIENT_REJECTED" | "MESSAGE_REJECTED":
                is_right = any(code is not None and code >= 500 for code in codes)
            case "RETRIES_EXHAUSTED":
                is_right = sum(code is not None for code in codes) >= history.max_attempts
            case "OUTCOME_UNKNOWN":
                is_right = None in codes or any(each.may_repeat for each in history.breaks) or request.rescues > 0
            case _:
                is_right = False
        if not is_right:
            yield f"FAILED, {request.failure_code}, which the relay never gave reason for: {request.address}"


def _attempts(history: History) -> Iterator[str]:
    """Yields rows that count other attempts or rescues than their log."""
    free = ("rescued", "put off")
    spent = Counter((each.address, each.request) for each in history.tries if each.event not in free)
    rescued = Counter((each.address, each.request) for each in history.tries if each.event == "rescued")
    for request in history.requests:
        key = request.address, request.id
        if request.attempts != spent[key]:
            yield f"{request.attempts} attempts, but {spent[key]} in the log: {request.address}"
        if request.rescues != rescued[key]:
            yield f"{request.rescues} rescues, but {rescued[key]} in the log: {request.address}"


def _counts(history: History) -> Iterator[str]:
    """Yields differences between the counters and the rows, which the relay's own log was compared with."""
    if history.counted is None:
        return
    rows = Counter(request.status for request in history.requests)
    for outcome, status in (("told", "NOTIFICATION_SENT"), ("failed", "FAILED")):
        if history.counted.get(outcome, 0) != rows[status]:
            yield f"{history.counted.get(outcome, 0)} counted as {outcome}, but {rows[status]} are {status}"


def _refusals(history: History) -> Iterator[str]:
    """Yields differences between the attempt log and what the relay said. That is about all requests of a person."""
    logged: Mapping[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for each in history.tries:
        if each.event != "rescued" and each.smtp_code:
            logged[each.address, each.request][each.smtp_code] += 1
    said: Mapping[str, Counter[int]] = defaultdict(Counter)
    for refusal in history.refusals:
        if refusal.code not in (None, 421):
            said[refusal.recipient][refusal.code] += 1
    for request in history.requests:
        ours, theirs = logged[request.address, request.id], said[request.address]
        for code, count in (ours - theirs).items():
            yield f"{count} times {code} in the attempt log, which the relay never said: {request.address}"
        if history.is_every_refusal_logged:
            for code, count in (theirs - ours).items():
                yield f"{count} times {code} by the relay, and not in the attempt log: {request.address}"
