"""Which rules for senders a mail keeps: those of RFCs, and of Gmail, Yahoo and Microsoft for bulk mail.

Pure. It looks at the finished message, so that it also sees what a template or a relay makes of it. The rules:
support.google.com/a/answer/81126, senders.yahooinc.com/best-practices, and Microsoft's requirements for high-volume
senders (techcommunity.microsoft.com, April 2025).
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from worker.domain.alignment import are_aligned
from worker.feedback.seen import SeenMail, see
from worker.services.sender_warnings import takes_no_replies

GMAIL_CLIPS: Final = 102 * 1024
"""Octets of HTML that Gmail shows. Behind them, nobody finds the way out."""
ONE_CLICK: Final = "List-Unsubscribe=One-Click"

_URI: Final = re.compile(r"<([^<>\s]+)>")


@dataclass(frozen=True, slots=True)
class Point:
    """One rule. `is_kept` is None if the mail alone can't tell, or it is only to be looked at."""

    rule: str
    is_kept: bool | None
    text: str

    def as_json(self) -> dict[str, object]:
        """Returns the point as JSON, for programs."""
        return {"rule": self.rule, "ok": self.is_kept, "text": self.text}


def points_of(message: bytes, return_path: str) -> Sequence[Point]:
    """Returns how a mail that is sent from `return_path` keeps the rules."""
    mail = see(message)
    return [*ways_out(mail), replies(mail), alignment(mail, return_path.rpartition("@")[2]), size(mail), _look()]


def _look() -> Point:
    words = (
        "the relay's and the DNS's part: try `stockbell doctor --dns`, and --check-file with this mail as it arrived"
    )
    return Point("SPF, DKIM, DMARC", None, words)


def ways_out(mail: SeenMail) -> Iterator[Point]:
    """Yields whether a customer can leave: by the header, with one click, and by a link."""
    uris = _URI.findall(mail.headers.get("list-unsubscribe"))
    if not uris:
        text = "no List-Unsubscribe (RFC 2369): set STOCKBELL_BOUNCE_ADDRESS or STOCKBELL_PUBLIC_URL"
        yield Point("unsubscribe", False, text)
    else:
        schemes = " and ".join(uri.partition(":")[0].lower() for uri in uris)
        yield Point("unsubscribe", True, f"List-Unsubscribe has {schemes}")
    yield _one_click(mail, uris)
    yield _link(mail, uris)


def _one_click(mail: SeenMail, uris: Sequence[str]) -> Point:
    has_https = any(uri.lower().startswith("https:") for uri in uris)
    if has_https and mail.headers.get("list-unsubscribe-post").strip() == ONE_CLICK:
        text = "List-Unsubscribe-Post is there; DKIM has to cover both headers (h=)"
        return Point("one-click", True, text)
    text = "no https link with List-Unsubscribe-Post (RFC 8058), which Gmail and Yahoo ask bulk mail for"
    return Point("one-click", False, text)


def _link(mail: SeenMail, uris: Sequence[str]) -> Point:
    shown = [_shown(uri) for uri in uris]
    bodies = [html.unescape(body) for body in mail.bodies]
    if shown and bodies and all(any(each in body for each in shown) for body in bodies):
        return Point("visible link", True, "the text and the HTML have the link too")
    return Point(
        "visible link", False, "no link to unsubscribe in the text and the HTML, which Gmail and Yahoo ask for"
    )


def _shown(uri: str) -> str:
    """Returns what a reader has to see of a URI: a URL, or the address of a mailto (RFC 6068)."""
    scheme, _, rest = uri.partition(":")
    return unquote(rest.partition("?")[0]) if scheme.lower() == "mailto" else uri


def replies(mail: SeenMail) -> Point:
    """Returns whether somebody reads an answer, by the names of the addresses."""
    name = "Reply-To" if "reply-to" in mail.headers else "From"
    if takes_no_replies(mail.address_of(name.lower())):
        text = f"{name} is a no-reply address, and Microsoft asks for one that takes replies: set STOCKBELL_REPLY_TO"
        return Point("replies", False, text)
    return Point("replies", True, f"{name} looks like an address that takes replies")


def alignment(mail: SeenMail, return_path_domain: str) -> Point:
    """Returns whether SPF can count for DMARC: the return path has to be of the organization that From names."""
    author = mail.domain_of("from")
    if not return_path_domain:
        return Point("alignment", None, "the return path is not known")
    if are_aligned(author, return_path_domain):
        return Point(
            "alignment", True, f"From ({author}) and return path ({return_path_domain}) are one organization's"
        )
    domains = f"From is of {author}, the return path of {return_path_domain}"
    text = f"{domains}: SPF can't count for DMARC (RFC 7489), DKIM has to"
    return Point("alignment", False, text)


def size(mail: SeenMail) -> Point:
    """Returns whether Gmail shows all of the HTML."""
    text = f"the HTML has {mail.html_size:,} octets; Gmail clips it after {GMAIL_CLIPS:,}"
    return Point("size", mail.html_size <= GMAIL_CLIPS, text)
