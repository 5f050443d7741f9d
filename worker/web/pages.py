"""Pages for people: templates in `pages`, words in `words`, one table for each language.

Each concern has a file of words, `words/NAME.toml`, with a table for each language; what a language lacks is said in
English. Pages have no script, load nothing from other hosts, and are kept by no cache.
"""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.domain.languages import direction, pick
from worker.web.dates import day

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_HERE / "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters["day"] = day
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # A form's Origin would be `null` with no-referrer; the token in our own path must not leave this site.
    "Referrer-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
}


@lru_cache
def words(name: str) -> Mapping[str, Mapping[str, str]]:
    """Returns the words of a concern by language, from `words/NAME.toml`. English is complete."""
    found: dict[str, dict[str, str]] = tomllib.loads((_HERE / "words" / f"{name}.toml").read_text(encoding="utf-8"))
    return {language: found["en"] | own for language, own in found.items()}


class Pages:
    """Renders pages in the shop's name. `root` is the path at which a proxy has us, if not at `/`."""

    def __init__(self, store_name: str, root: str = "") -> None:
        self._values = {"store_name": store_name, "root": root}

    def show(
        self, template: str, concern: str, wanted: str | None, status: int = 200, /, **values: Any
    ) -> HTMLResponse:
        """Returns a page with the words of `concern` as `w`, in the language that suits `wanted` best.

        `wanted` is a locale (`pt-BR`) or the header Accept-Language.
        """
        offered = words(concern)
        language = pick(wanted, offered)
        about = {"w": offered[language], "lang": language, "dir": direction(language)}
        text = _ENVIRONMENT.get_template(template).render(**self._values, **about, **values)
        return HTMLResponse(text, status, headers={**_HEADERS, "Content-Language": language})
