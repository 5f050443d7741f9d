"""`explain-reply --report`: how messages that came back are judged."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from worker.cli import session
from worker.cli.output import say, say_json, say_pairs

if TYPE_CHECKING:
    from worker.services.explaining_reports import ReportExplanation

_STDIN: Final = "-"
_READ_LIMIT: Final = 2 * 1024 * 1024
"""Octets of a file that are read. The reader of messages looks at fewer, and says so."""
_SHOWN: Final = ("means", "said", "status", "row", "file", "source", "blames", "follows")
_NOTHING: Final = "nothing: no token and no Message-ID of ours"


def explain_reports(files: list[str], *, as_json: bool) -> None:
    """Prints how each file is judged, as a block or as a line of JSON each. Raises BadParameter and BadSetting."""
    from worker.domain import reply_rules
    from worker.services.explaining_reports import explain_report

    contents = [(file, _content(file)) for file in files]
    parts = session.parts()
    reply_rules.use(parts.reply_rules)
    for number, (file, content) in enumerate(contents):
        found = explain_report(content, parts.proof)
        if as_json:
            say_json({"file": file, **found.as_json()})
        else:
            if number:
                say("")
            _say_report(file if len(contents) > 1 else None, found)


def _content(file: str) -> bytes:
    try:
        if file == _STDIN:
            return sys.stdin.buffer.read(_READ_LIMIT)
        with Path(file).open("rb") as opened:
            return opened.read(_READ_LIMIT)
    except OSError as error:
        raise typer.BadParameter(f"{file} can't be read: {error.strerror}", param_hint="--report") from None


def _say_report(file: str | None, found: "ReportExplanation") -> None:
    head = {
        "report": file,
        "form": found.report.form or "not recognised",
        "trouble": found.report.trouble,
        "proves": "; ".join(found.proves) or _NOTHING,
    }
    recipients = [{name: each[name] for name in _SHOWN} for each in found.recipients]
    if len(recipients) == 1:
        say_pairs({**head, **recipients[0]})
        return
    say_pairs(head)
    for number, pairs in enumerate(recipients, 1):
        say("")
        say_pairs({"recipient": f"{number} of {len(recipients)}", **pairs})
