"""What is around every page for admins: the menu, who has logged in, headers, and the command line that does the same.

Templates are in `pages/admin`. `_layout.html` is the frame, `_parts.html` has what pages are made of. Nothing in them
is inline script or style: the policy forbids it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from worker.domain.admins import Visitor
from worker.services.wire import timestamp

NOTHING: Final = "\u2013"
"""What stands for a value that is not known: a dash."""
_PAGES: Final = Path(__file__).parent.parent / "pages" / "admin"
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    # A form's Origin would be `null` with no-referrer, and the gate compares it.
    "Referrer-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the menu."""

    name: str
    """what a page passes as `nav`"""
    path: str
    label: str
    key: str = ""
    """after `g`, the key that leads there"""


MENU: Final[Mapping[str, Sequence[Entry]]] = {
    "The line": (
        Entry("overview", "/", "Overview", "o"),
        Entry("requests", "/requests", "Requests", "r"),
        Entry("why", "/why", "Why?", "w"),
        Entry("failed", "/failed", "Failed", "f"),
        Entry("demand", "/items", "Demand", "d"),
        Entry("insights", "/insights", "Insights", "i"),
    ),
    "Work": (
        Entry("actions", "/actions", "Actions", "a"),
        Entry("dead-letters", "/dead-letters", "Dead letters", "l"),
        Entry("contacts", "/contacts", "Contacts", "c"),
        Entry("mail", "/mail", "Mail", "m"),
    ),
    "Set up": (
        Entry("webhooks", "/webhooks", "Webhooks", "h"),
        Entry("keys", "/keys", "Keys", "k"),
        Entry("system", "/system", "System", "s"),
    ),
}


class Frame:
    """Renders pages. `root` is the path at which a proxy has us, if not at `/`."""

    def __init__(self, store_name: str, root: str = "") -> None:
        self.root = root
        self.here = f"{root}/admin"
        """The path of the pages, for links and redirects."""
        self._environment = Environment(
            loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._environment.filters |= {
            "number": number,
            "rate": rate,
            "when": when,
            "clock": clock,
            "ago": ago,
            "seconds": seconds,
            "query": query,
        }
        self._environment.globals |= {
            "store_name": store_name,
            "root": root,
            "here": self.here,
            "menu": MENU,
            "item_path": item_path,
        }

    def show(
        self,
        request: Request,
        visitor: Visitor | None,
        template: str,
        /,
        *,
        title: str,
        nav: str = "",
        command: str | Sequence[str] = (),
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """Returns a page.

        `nav` is its entry in the menu, `command` the lines that do the same on the command line. `values` are what the
        template shows. Without a `visitor` there is no menu.
        """
        commands = [command] if isinstance(command, str) else list(command)
        about = {"title": title, "nav": nav, "commands": commands, "visitor": visitor, "path": request.url.path}
        text = self._environment.get_template(template).render(now=datetime.now(UTC), **about, **values)
        return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})

    def part(self, template: str, /, **values: Any) -> str:
        """Returns a part of a page as HTML, for what is live."""
        return self._environment.get_template(template).render(now=datetime.now(UTC), **values)


# --- what templates show ---


def item_path(app_id: str, catalog_item_id: str, **more: str) -> str:
    """The path of an item's page, below that of the pages; `more` is its query.

    A browser takes dots in a path for folders, however they are written: then the ids are in the query.
    """
    parts = [*app_id.split("/"), *catalog_item_id.split("/")]
    if {".", "..", ""}.intersection(parts):
        return f"/item?{urlencode({'app': app_id, 'item': catalog_item_id, **more})}"
    path = f"/items/{quote(app_id, safe='')}/{quote(catalog_item_id, safe='')}"
    return f"{path}?{urlencode(more)}" if more else path


def number(value: float | None, unknown: str = NOTHING) -> str:
    """`1204` as `1,204`; None as a dash."""
    return unknown if value is None else f"{value:,.0f}"


def when(at: datetime | None, unknown: str = NOTHING) -> Markup:
    """A time as `<time>` in UTC. The script shows it as the reader's own time, and how long ago it was."""
    if at is None:
        return escape(unknown)
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        timestamp(at), f"{exact:%Y-%m-%d %H:%M:%S} UTC", f"{exact:%Y-%m-%d %H:%M:%S}"
    )


def rate(value: float | None, unknown: str = NOTHING) -> str:
    """A rate: `1,204`, and small ones as `0.4`."""
    return unknown if value is None else "0" if not value else f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def clock(at: datetime, *, exact: bool = False) -> Markup:
    """A time of the day as `<time>` in UTC, to the minute or exactly. The script shows it as the reader's own time."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}" data-clock{}>{}</time>').format(
        timestamp(at),
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
        Markup('="exact"') if exact else "",
        f"{utc:%H:%M:%S}" if exact else f"{utc:%H:%M}",
    )


def ago(at: datetime | None, now: datetime, unknown: str = NOTHING) -> Markup:
    """A time as `<time>`, written as how long ago it was: `3 min ago`, `in 5 s`."""
    if at is None:
        return escape(unknown)
    past = (now - at).total_seconds()
    words = f"{seconds(past)} ago" if past >= 0 else f"in {seconds(-past)}"
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        timestamp(at), f"{exact:%Y-%m-%d %H:%M:%S} UTC", words
    )


_STEPS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))


def seconds(value: float | None, unknown: str = NOTHING) -> str:
    """A duration for people, with one or two units: `0.2 s`, `45 s`, `3 min`, `2 h 5 min`, `4 d`."""
    if value is None:
        return unknown
    if value < 59.5:
        return f"{value:.0f} s" if value >= 9.95 or value == 0 else f"{value:.1f} s"
    for place, (size, unit) in enumerate(_STEPS):
        if value >= size:
            whole, rest = divmod(value, size)
            smaller, name = _STEPS[place + 1] if place + 1 < len(_STEPS) else (1.0, "s")
            small = int(rest // smaller)
            return f"{whole:.0f} {unit}" + (f" {small} {name}" if small and whole < 10 else "")
    return "1 min"


def query(values: Mapping[str, object], **changed: object) -> str:
    """The query of a URL: these values with some changed, and without those that are empty."""
    return urlencode({name: str(value) for name, value in {**values, **changed}.items() if value not in (None, "")})
