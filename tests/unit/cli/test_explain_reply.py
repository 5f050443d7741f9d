"""`stockbell explain-reply`: the row, who is blamed, what follows, and what is refused."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker import cli
from worker.domain.outcomes import RelayDown
from worker.domain.replies import Reply, Stage
from worker.domain.reply_rules import Blame, Rule
from worker.services.explaining import Explanation


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("STOCKBELL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> tuple[int, str]:
    answer = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["explain-reply", *arguments])
    return answer.exit_code, answer.output


def test_it_shows_the_row_who_is_blamed_and_what_follows() -> None:
    code, text = run("550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines == {
        "reply": "550 5.1.1 <***@***>: Recipient address rejected: User unknown",
        "stage": "rcpt",
        "row": "user-unknown",
        "file": "replies.toml (shipped)",
        "source": "RFC 3463 section 3.2, code X.1.1",
        "blames": "recipient",
        "follows": "This customer's request fails (RECIPIENT_REJECTED). The others go on at full speed.",
    }


def test_programs_get_json() -> None:
    code, text = run("454 Throttling failure: Daily message quota exceeded.", "--stage", "dot", "--json")
    found = json.loads(text)
    assert (code, found["row"], found["blames"], found["stage"]) == (0, "ses-daily-quota", "quota", "dot")


@pytest.mark.parametrize(("reply", "kind"), [("550 hm", "fails (RECIPIENT_REJECTED)"), ("451 hm", "tried again later")])
def test_what_no_row_knows_is_judged_by_evidence(reply: str, kind: str) -> None:
    found = json.loads(run(reply, "--json")[1])
    assert (found["row"], found["blames"]) == (None, None)
    assert found["follows"].startswith("If the relay takes nobody's mail, it is about us")
    assert kind in found["follows"]


@pytest.mark.parametrize(
    "text",
    [
        "550-5.1.1 The email account that you tried\\n550-5.1.1 to reach does not exist\\n550 5.1.1 at all",
        "550-5.1.1 The email account that you tried\\r\\n550 5.1.1 to reach does not exist",
        "550-5.1.1 The email account that you tried\n550 5.1.1 to reach does not exist",
        "550-5.1.1 The email account that you tried\r\n550-5.1.1 to reach does not\r\n550 5.1.1 exist",
        "550-5.1.1 The email account that you tried 550-5.1.1 to reach does not exist 550 5.1.1 at all",
        " 550 5.1.1 The email account that you tried to reach does not exist\n",
    ],
)
def test_a_reply_is_read_as_logs_write_it(text: str) -> None:
    assert json.loads(run(text, "--json")[1])["row"] == "gmail-no-such-user"


@pytest.mark.parametrize("text", ["", "hello", "250 ok", "5500 no", "55", "user unknown", "354 go on", "650 no"])
def test_what_is_no_refusal_is_refused(text: str) -> None:
    code, said = run(text)
    assert code == 2
    assert "the reply must begin with the three digits of a refusal, like 550 or 451" in said


def test_a_stage_that_is_none_is_refused() -> None:
    code, said = run("550 no", "--stage", "later")
    assert code == 2
    assert "a stage must be one of connect, greeting, ehlo, starttls, auth, mail, rcpt, data, dot" in said


def test_own_rows_are_tried_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[rule]]\nname = "ours"\ncode = "550"\nwords = ["volume is used up"]\nblames = "quota"\n')
    monkeypatch.setenv("STOCKBELL_REPLY_RULES", str(own))
    found = json.loads(run("550 Your volume is used up", "--json")[1])
    assert (found["row"], found["file"], found["source"], found["blames"]) == ("ours", "own.toml", None, "quota")


def test_a_wrong_file_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[rule]]\nname = "ours"\ncode = "550"\nblames = "them"\n')
    monkeypatch.setenv("STOCKBELL_REPLY_RULES", str(own))
    answer = CliRunner().invoke(cli.app, ["explain-reply", "550 no"])
    assert str(answer.exception).startswith("STOCKBELL_REPLY_RULES: own.toml: row 1 (ours): blames must be one of")


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("reply", [Reply(450, "hm"), Reply(550, "hm"), Reply(550, "5.7.1 hm")])
@pytest.mark.parametrize("blame", [None, *Blame])
def test_what_follows_is_what_the_worker_does(stage: Stage, reply: Reply, blame: Blame | None) -> None:
    found = Explanation(reply, stage, Rule("row", "...", blame) if blame else None)
    words = found.follows
    is_for_all = isinstance(found.outcome, RelayDown)
    assert words.startswith("Nobody fails") == is_for_all
    assert words.startswith(("This customer", "If the relay takes nobody's mail")) == (not is_for_all)
    assert words.endswith(".")


def test_each_blame_that_is_for_all_has_its_own_consequences() -> None:
    said = {blame: Explanation(Reply(450, "hm"), Stage.DOT, Rule("row", "...", blame)).follows for blame in Blame}
    for_all = {Blame.ACCOUNT, Blame.QUOTA, Blame.RELAY, Blame.CONNECTION, Blame.CONNECTIONS, Blame.PACE}
    assert len({said[blame] for blame in for_all}) == len(for_all)
