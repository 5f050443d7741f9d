"""What docs/operations.md says of alerts is complete: each reason of `status --check`, and each log event."""

import ast
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from worker.domain.catalog import CatalogReference, item_of
from worker.mail.message import message_id
from worker.services.status import Status
from worker.store.breaker import Breaker
from worker.store.figures import RequestFigures, Unheard
from worker.store.pauses import Paused
from worker.stream.figures import Figures
from worker.stream.recent import Recent

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
ALARMS = {"warning": "warning", "error": "error", "exception": "error"}
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")


def section(level: str) -> set[str]:
    """Returns the log events that the page's table of this level names."""
    table = PAGE.partition(f"level `{level}`")[2].partition("\n\n\n")[0].partition("\nThose of")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def logged(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields level and name of each log event. Where the level is decided at run time, it counts as an error."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in ALARMS:
            level = ALARMS[node.func.attr]
        elif isinstance(node.func, ast.Call) and ast.unparse(node.func.func) == "_log_trouble":
            level = "error"
        else:
            level = "warning"  # a name that is passed on to be logged
            for keyword in node.keywords:
                if keyword.arg == "away" and isinstance(keyword.value, ast.Constant):
                    yield level, str(keyword.value.value)
            continue
        match node.args:
            case [ast.Constant(str(name)), *_] if EVENT.fullmatch(name):
                yield level, name


def test_each_alarming_log_event_is_explained_and_no_other() -> None:
    sources = [path for folder in ("worker", "config") for path in (ROOT / folder).rglob("*.py")]
    found = {pair for path in sources for pair in logged(ast.parse(path.read_text()))}
    errors = {name for level, name in found if level == "error"}
    assert len(found) > 25
    assert section("error") == errors
    assert section("warning") == {name for level, name in found if level == "warning"} - errors


def alarmed() -> Status:
    """Everything that can be wrong is."""
    then, now = datetime(2026, 11, 28, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC)
    mug = CatalogReference(item_of("mug-1"))
    requests = RequestFigures({}, 61.0, 1, 0, {"a reason": 1}, 2, Unheard(mug, now, mug.options, 3))
    events = Figures(1, 1, 0, 0, unattended=True, recent=Recent(20, 19, "no stock"))
    breaker = Breaker("open", then, "535 no", None, refusals=3, refused_since=then, refusal="451 no", now=now)
    return Status(requests, events, None, breaker, Paused(everything=False, items=()), "Redis (broker): no answer")


def test_each_reason_of_the_check_is_explained() -> None:
    rows = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)
    found = alarmed()
    assert len(found.troubles) == 8
    for reason in (*found.troubles, *(f"warning: {each}" for each in found.warnings)):
        plain = re.sub(r"\d+", "N", reason)
        assert any(plain.startswith(row) for row in rows), plain


def test_the_ids_of_who_was_told_are_found_in_the_log_of_a_relay() -> None:
    told = UUID(int=2**127 + 5)
    line = f"Nov 28 09:00:00 mx postfix/cleanup[7]: 4ABC: message-id={message_id(told, 'shop.example')}\n"
    (script,) = re.findall(r"\$ sed -nE '(.*)' mail\.log", PAGE)
    other = "Nov 28 09:00:00 mx postfix/cleanup[7]: 4ABD: message-id=<20261128.1@other.example>\n"
    found = subprocess.run(["sed", "-nE", script], input=line + other, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(told)]
