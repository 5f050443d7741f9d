"""What became of a mail of ours that arrived: was it authenticated, was it changed on its way, would Gmail clip it.

Pure. A file that somebody saved may be anything, so every text is made safe to show.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from worker.domain.alignment import are_aligned, is_below
from worker.domain.errors import BadFile
from worker.domain.replies import one_line
from worker.feedback.seen import READ_LIMIT, Result, SeenMail, see
from worker.services.sender_rules import Point, alignment, replies, size, ways_out

_OUR_ID: Final = re.compile(r"<?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}@([^<>\s]+)>?", re.IGNORECASE)
_WAY_OUT: Final = ("list-unsubscribe", "list-unsubscribe-post")
_SPAM_LEVEL: Final = re.compile(r"\bSCL:\s*(-?[0-9]+)")
_SPAM_FROM: Final = 5
"""The least spam confidence level at which Exchange takes a mail for spam (learn.microsoft.com, "Spam confidence
level")."""
_SCORE: Final = re.compile(r"\bscore=(-?[0-9.]{1,10})")


def read_file(path: Path, stdin: BinaryIO) -> SeenMail:
    """Reads a saved mail, from stdin if its name is "-". Only its beginning is read. Raises BadFile."""
    if str(path) == "-":
        return _seen(stdin.read(READ_LIMIT), None)
    try:
        with path.open("rb") as file:
            return _seen(file.read(READ_LIMIT), path.stat().st_size)
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise BadFile(f"{path}: {getattr(error, 'strerror', None) or 'is not a file'}") from None


def _seen(octets: bytes, size: int | None) -> SeenMail:
    mail = see(octets, max(size or 0, len(octets)))
    if not (mail.headers and mail.domain_of("from")):
        raise BadFile("the file is no mail: it has no From")
    return mail


def points_of(mail: SeenMail) -> Sequence[Point]:
    """Returns what a mail that arrived says about the rules for senders."""
    return [replace(point, text=one_line(point.text)) for point in _points(mail)]


def _points(mail: SeenMail) -> Iterator[Point]:
    yield from _authentication(mail)
    yield from ways_out(mail)
    yield replies(mail)
    yield alignment(mail, mail.domain_of("return-path"))
    yield _message_id(mail)
    yield size(mail)
    yield from _spam(mail)


def _authentication(mail: SeenMail) -> Iterator[Point]:
    if not mail.results:
        yield Point("results", False, "no Authentication-Results (RFC 8601): save the mail as its receiver shows it")
        return
    host, results = mail.results[0].host, _of_receiver(mail)
    others = sorted({each.host or "a host without name" for each in mail.results if each.host != host})
    left_out = f"; left out, since any host may write them: those of {', '.join(others)}" if others else ""
    yield Point("results", None, f"by {host or 'the topmost host'}, the receiver if it is yours{left_out}")
    author = mail.domain_of("from")
    yield _spf(results)
    yield _dkim(results, author)
    if any(name in mail.headers for name in _WAY_OUT):
        yield _coverage(mail, results)
    yield _dmarc(results)


def _of_receiver(mail: SeenMail) -> Sequence[Result]:
    """Returns what the topmost host found. It may write one field for each method, but only if it has a name."""
    first = mail.results[0]
    fields = [each for each in mail.results if each.host == first.host] if first.host else [first]
    return [result for each in fields for result in each.results]


def _first(results: Sequence[Result], method: str) -> Result | None:
    return next((result for result in results if result.method == method), None)


def _spf(results: Sequence[Result]) -> Point:
    found = _first(results, "spf")
    if found is None:
        return Point("SPF", False, "not among the results")
    domain = _domain(found, "smtp.mailfrom", "smtp.helo")
    return Point("SPF", found.value == "pass", f"{found.value}{f', for {domain}' if domain else ''}")


def _domain(result: Result, *names: str) -> str:
    """Returns the domain in the first of these properties that is there: `shop.example` or `x@shop.example`."""
    value = next((result.properties[name] for name in names if name in result.properties), "")
    return value.rpartition("@")[2].lower().rstrip(".")


def _passing(results: Sequence[Result]) -> Sequence[str]:
    """Returns the domains whose DKIM signatures are valid."""
    passes = (result for result in results if (result.method, result.value) == ("dkim", "pass"))
    return [_domain(result, "header.d", "header.i") for result in passes]


def _dkim(results: Sequence[Result], author: str) -> Point:
    domains = _passing(results)
    aligned = next((domain for domain in domains if are_aligned(domain, author)), None)
    if aligned:
        return Point("DKIM", True, f"pass, signed by {aligned}")
    if domains:
        text = f"pass, but signed by {', '.join(domains)}: for DMARC it has to be {author} (let the relay sign for it)"
        return Point("DKIM", False, text)
    found = _first(results, "dkim")
    return Point("DKIM", False, found.value if found else "not among the results")


def _coverage(mail: SeenMail, results: Sequence[Result]) -> Point:
    """RFC 8058 section 4: a valid signature has to cover both headers of the way out, as far as they are there."""
    valid = _passing(results)
    covered = [each.covers for each in mail.signatures if any(is_below(domain, each.domain) for domain in valid)]
    wanted = {name for name in _WAY_OUT if name in mail.headers}
    names = " and ".join(sorted(name.title() for name in wanted))
    if any(wanted <= each for each in covered):
        return Point("DKIM h=", True, f"covers {names}")
    return Point("DKIM h=", False, f"no valid signature covers {names} (RFC 8058): let the relay add them to h=")


def _dmarc(results: Sequence[Result]) -> Point:
    found = _first(results, "dmarc")
    if found is None or found.value == "none":
        return Point("DMARC", False, "none: the domain of From has no record (try `stockbell doctor --dns`)")
    domain = _domain(found, "header.from")
    return Point("DMARC", found.value == "pass", f"{found.value}{f', for {domain}' if domain else ''}")


def _message_id(mail: SeenMail) -> Point:
    """Some relays replace it, as Amazon SES and Brevo do. That breaks no rule, but a bounce then names another mail."""
    ours = _OUR_ID.fullmatch(mail.headers.get("message-id").strip())
    if ours and are_aligned(ours[1], mail.domain_of("from")):
        return Point("Message-ID", True, "as it was sent")
    text = "the relay wrote another one: bounces are matched by return path, ENVID or the provider's webhook"
    return Point("Message-ID", None, text)


def _spam(mail: SeenMail) -> Iterator[Point]:
    flags = [mail.headers.get(name).strip().lower() for name in ("x-spam-flag", "x-spam-status")]
    report = " ".join(mail.headers.all("x-forefront-antispam-report", "x-microsoft-antispam"))
    level = mail.headers.get("x-ms-exchange-organization-scl").strip() or next(iter(_SPAM_LEVEL.findall(report)), "")
    score = _SCORE.search(flags[1]) or re.match(r"(-?[0-9.]{1,10})", mail.headers.get("x-spam-score").strip())
    if not (any(flags) or level or score):
        return
    is_spam = any(flag.startswith("yes") for flag in flags) or (_is_number(level) and int(level) >= _SPAM_FROM)
    marks = [f"score {score[1]}" if score else "", f"SCL {level}" if level else ""]
    said = ", ".join(filter(None, marks)) or "no score"
    yield Point("spam filter", not is_spam, f"{'taken for spam' if is_spam else 'not taken for spam'}: {said}")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,3}", text) is not None
