"""Writes worker/mail/css_support.toml from a copy of caniemail's data: `python -m tests.caniemail DIRECTORY`.

The directory is a checkout of github.com/hteumeuleu/caniemail (MIT). Looked at are Gmail on the web and Outlook for
Windows, in the last version of each that was tested.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).parents[1] / "worker" / "mail" / "css_support.toml"
CLIENTS: Final = {"gmail": ("gmail", "desktop-webmail"), "outlook": ("outlook", "windows")}
SECTIONS: Final = ("properties", "values", "functions", "units", "rules")
HEAD: Final = """\
# CSS that Gmail on the web and Outlook for Windows drop, by the tests of caniemail.com (MIT), as of {date}.
# Made by `python -m tests.caniemail`. Selectors are left out: rules go into the elements that they are about.
"""

# Features whose file is not named like what a sheet says. Others of one word are properties.
_SPECIAL: Final[Mapping[str, tuple[str, ...]]] = {
    "at-font-face": ("rules:font-face",),
    "at-keyframes": ("rules:keyframes",),
    "at-supports": ("rules:supports",),
    "block-inline-size": ("properties:block-size", "properties:inline-size"),
    "border-inline-block": ("properties:border-inline", "properties:border-block"),
    "column-layout-properties": ("properties:columns", "properties:column-rule", "properties:column-width"),
    "conic-gradient": ("functions:conic-gradient",),
    "display-flex": ("values:display flex", "values:display inline-flex"),
    "display-grid": ("values:display grid", "values:display inline-grid"),
    "function-clamp": ("functions:clamp",),
    "function-light-dark": ("functions:light-dark",),
    "function-max": ("functions:max",),
    "function-min": ("functions:min",),
    "gap": ("properties:gap", "properties:column-gap", "properties:row-gap"),
    "grid-template": ("properties:grid-template", "properties:grid-template-columns", "properties:grid-template-rows"),
    "left-right-top-bottom": ("properties:left", "properties:right", "properties:top", "properties:bottom"),
    "linear-gradient": ("functions:linear-gradient",),
    "margin-block-start-end": ("properties:margin-block-start", "properties:margin-block-end"),
    "margin-inline-block": ("properties:margin-inline", "properties:margin-block"),
    "margin-inline-start-end": ("properties:margin-inline-start", "properties:margin-inline-end"),
    "modern-color": ("functions:lch", "functions:oklch", "functions:lab", "functions:oklab"),
    "padding-block-start-end": ("properties:padding-block-start", "properties:padding-block-end"),
    "padding-inline-block": ("properties:padding-inline", "properties:padding-block"),
    "padding-inline-start-end": ("properties:padding-inline-start", "properties:padding-inline-end"),
    "radial-gradient": ("functions:radial-gradient",),
    "rgba": ("functions:rgba",),
    "unit-calc": ("functions:calc",),
    **{f"unit-{unit}": (f"units:{unit}",) for unit in ("ch", "rem", "vh", "vw", "vmax", "vmin")},
}
_PROPERTY: Final = re.compile(r"[a-z]+(-[a-z]+)*")


def main(directory: Path) -> None:
    """Writes the table."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for file in sorted((directory / "_features").glob("css-*.md")):
        text = file.read_text(encoding="utf-8")
        slug = file.stem.removeprefix("css-")
        dropping = [name for name, path in CLIENTS.items() if _last(_stats(text), *path) == "n"]
        for kind, name in (each.split(":", 1) for each in _names(slug, text)) if dropping else ():
            found[kind][name] = dropping
    date = subprocess.run(
        ["git", "-C", str(directory), "log", "-1", "--format=%cs"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    lines = [HEAD.format(date=date)]
    for section in SECTIONS:
        rows = (f"{json.dumps(name)} = {json.dumps(clients)}" for name, clients in sorted(found[section].items()))
        lines.append("\n".join([f"[{section}]", *rows, ""]))
    TABLE.write_text("\n".join(lines), encoding="utf-8")


def _names(slug: str, text: str) -> tuple[str, ...]:
    if slug in _SPECIAL:
        return _SPECIAL[slug]
    title = re.search(r'^title:\s*"?(.*?)"?\s*$', text, re.MULTILINE)
    name = title[1].removesuffix(" property").strip() if title else ""
    return (f"properties:{name}",) if _PROPERTY.fullmatch(name) and name == slug else ()


def _stats(text: str) -> Any:
    """Returns the results: JSON with names that have no quotes, and commas too many."""
    start = text.find("{", text.find("stats:"))
    depths = accumulate({"{": 1, "}": -1}.get(sign, 0) for sign in text[start:])
    end = next((place for place, depth in enumerate(depths, start) if depth == 0), start)
    quoted = re.sub(r'"?([A-Za-z][\w-]*)"?\s*:\s*(?=\{)', r'"\1":', text[start : end + 1])
    quoted = re.sub(r'([}"])(\s*\n\s*")', r"\1,\2", quoted)
    return json.loads(re.sub(r",(\s*[,}\]])", r"\1", quoted))


def _last(stats: Any, program: str, system: str) -> str:
    """Returns the first letter of the last result: y(es), n(o), a(lmost), u(nknown)."""
    versions = stats.get(program, {}).get(system, {})
    return str(list(versions.values())[-1])[:1] if versions else "u"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
