"""What relays' replies mean: every row of the table, and how rows are found and read."""

import json
from pathlib import Path

import pytest

from worker.domain.replies import Stage, parse_reply
from worker.domain.reply_rules import Blame, Rule, shipped

FIELD = json.loads((Path(__file__).parents[2] / "field" / "replies.json").read_text())
EXAMPLES = [(rule, example) for rule in shipped().rules for example in rule.examples]
# What is told of the thirteen, in the words of the table.
ABOUT = {"us": {Blame.ACCOUNT, Blame.QUOTA}, "relay": {Blame.RELAY}, "too fast": {Blame.CONNECTIONS}} | {
    "recipient": {Blame.MAILBOX, Blame.RECIPIENT},
    "connection": {Blame.CONNECTION},
}


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=lambda value: getattr(value, "name", None))
def test_each_row_decides_its_examples(rule: Rule, example: str) -> None:
    for stage in rule.stages:
        found = shipped().match(stage, parse_reply(example))
        assert found is not None
        assert found.name == rule.name, stage


def test_each_row_has_an_example_and_a_source() -> None:
    assert [rule.name for rule in shipped().rules if not rule.examples or not rule.source] == []


@pytest.mark.parametrize("case", FIELD, ids=lambda case: case["reply"][:40])
def test_a_reply_from_the_field_blames(case: dict[str, str]) -> None:
    stage = Stage.MAIL if case["stage"] == "idle" else Stage(case["stage"])
    found = shipped().match(stage, parse_reply(case["reply"]))
    assert found is not None
    assert found.blames in ABOUT[case["about"]]
