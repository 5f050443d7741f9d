"""`hooks create`: what a provider could never call with is refused in one line, before anything is made."""

import pytest
from typer.testing import CliRunner

from worker import cli


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
