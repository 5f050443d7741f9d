"""`hooks create`: what a provider could never call with is refused in one line, before anything is made."""

import re

import pytest
from typer.testing import CliRunner

from worker import cli
from worker.cli.hooks import WHO_CALLS
from worker.domain.hook_kinds import KINDS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "must be one of"),
        (["ses"], "the ARN of the SNS topic"),
        (["postmark", "--secret", "hunter2hunter2hunter2"], "USER:PASSWORD"),
        (["sendgrid", "--secret", "hunter2"], "the verification key of SendGrid"),
        (["mailgun", "--secret", "hunter2"], "the HTTP webhook signing key"),
        (["brevo", "--secret", "hunter2"], "the token that you chose"),
    ],
)
def test_a_secret_that_cannot_be_right_is_named(arguments: list[str], words: str) -> None:
    answer = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(cli.app, ["hooks", "create", *arguments])
    assert answer.exit_code == 2
    assert words in answer.output
    assert "hunter2" not in answer.output


def test_the_help_names_everybody_who_may_call() -> None:
    assert set(re.findall(r"[a-z]+", WHO_CALLS.partition(":")[2])) == set(KINDS)
