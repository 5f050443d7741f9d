"""`stockbell explain-reply --report`: what a message that came back means, by which row, and what it proves."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from worker import cli
from worker.domain import reply_rules
from worker.domain.tokens import Tokens

REQUEST = UUID("01939f5e-7a00-7000-8000-0123456789ab")
KEY = "a secret key that is long enough"
REPORT = """\
From: MAILER-DAEMON@mx.example
To: bounces+{token}@shop.example
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; jane@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <jane@example.com>: User unknown
{more}
--b--
"""
SECOND = """
Final-Recipient: rfc822; joe@example.com
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp; 552 5.2.2 mailbox full
"""


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.upper().startswith("STOCKBELL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STOCKBELL_SECRET_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    before = reply_rules.in_force()
    yield
    reply_rules.use(before)


def run(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str]:
    answer = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["explain-reply", *arguments], input=stdin)
    return answer.exit_code, answer.output


def report(token: str = "", more: str = "") -> str:
    return REPORT.format(token=token, more=more)


def signed() -> str:
    return Tokens([KEY.encode()]).for_return(REQUEST, 3)


def test_it_shows_the_row_its_source_the_proof_and_what_follows() -> None:
    Path("bounce.eml").write_text(report(signed()))
    code, text = run("--report", "bounce.eml")
    assert code == 0
    assert dict(line.split(maxsplit=1) for line in text.splitlines()) == {
        "form": "RFC 3464",
        "proves": f"token of request {REQUEST}, claim 3 (modulo 65536)",
        "means": "dead",
        "said": "550 5.1.1 <***@***>: User unknown",
        "status": "5.1.1",
        "row": "user-unknown",
        "file": "replies.toml (shipped)",
        "source": "RFC 3463 section 3.2, code X.1.1",
        "blames": "recipient",
        "follows": "The customer is suppressed (bounced) and gets no more mail. The request fails (BOUNCED).",
    }


def test_what_proves_nothing_does_nothing() -> None:
    _, text = run("--report", "-", stdin=report(signed()[:-1] + "x"))
    assert "proves   nothing: no token and no Message-ID of ours" in text
    assert "follows  Nothing, since it proves nothing. With proof: The customer is suppressed" in text


def test_each_recipient_has_a_block_and_nobody_is_named() -> None:
    _, text = run("--report", "-", stdin=report(more=SECOND))
    blocks = text.split("\n\n")
    assert [block.split("\n")[0] for block in blocks[1:]] == ["recipient  1 of 2", "recipient  2 of 2"]
    assert "means      dead" in blocks[1]
    assert "means      failed" in blocks[2]
    assert "jane" not in text
    assert "joe" not in text


def test_programs_get_a_line_of_json_for_each_file() -> None:
    Path("one.eml").write_text(report(signed()))
    Path("two.eml").write_text("Subject: hello\n\nWhen do you open?\n")
    code, text = run("--report", "one.eml", "--report", "two.eml", "--json")
    one, two = map(json.loads, text.splitlines())
    assert code == 0
    assert (one["file"], one["recipients"][0]["means"], one["recipients"][0]["code"]) == ("one.eml", "dead", 550)
    assert two == {
        "file": "two.eml",
        "form": None,
        "trouble": None,
        "proves": [],
        "recipients": [
            {
                **dict.fromkeys(["said", "code", "status", "row", "file", "source", "blames"]),
                "means": "other",
                "follows": "Nothing. This is no report that is understood.",
            }
        ],
    }


def test_rows_of_ones_own_serve_reports_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.toml").write_text('[[rule]]\nname = "ours"\ncode = "550"\nwords = ["user unknown"]\nblames = "mailbox"\n')
    monkeypatch.setenv("STOCKBELL_REPLY_RULES", "own.toml")
    _, text = run("--report", "-", stdin=report())
    assert "row      ours" in text
    assert "means    failed" in text


@pytest.mark.parametrize("arguments", [(), ("550 hm", "--report", "-")])
def test_either_a_reply_or_reports_are_explained(arguments: tuple[str, ...]) -> None:
    code, text = run(*arguments, stdin="")
    assert code == 2
    assert "give either a reply or --report" in text


@pytest.mark.parametrize("file", ["absent.eml", "."])
def test_a_file_that_cannot_be_read_is_one_line(file: str) -> None:
    code, text = run("--report", file)
    assert code == 2
    assert f"{file} can't be read" in text


@pytest.mark.parametrize("octets", [b"", b"\x00\xff" * 5000, b"\r\r\r"])
def test_what_is_no_message_is_no_report(octets: bytes) -> None:
    code, text = run("--report", "-", stdin=octets)
    assert code == 0
    assert "means    other" in text
