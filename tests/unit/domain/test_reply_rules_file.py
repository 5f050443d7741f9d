"""A file of reply rules: what it may hold, and the line that says what is wrong with it."""

from pathlib import Path

import pytest

from worker.domain.errors import BadRules
from worker.domain.replies import Stage, parse_reply
from worker.domain.reply_rules import Blame, read, shipped, with_own

DOCUMENTED = Path(__file__).parents[3] / "docs" / "own-replies.toml"
ROW = '[[rule]]\nname = "ours"\ncode = "550"\nwords = ["volume used up"]\nblames = "quota"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "own.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(file: Path) -> str:
    with pytest.raises(BadRules) as error:
        with_own(file)
    return str(error.value)


def test_a_row_needs_little(tmp_path: Path) -> None:
    (rule,) = read(written(tmp_path, ROW))
    assert (rule.name, rule.blames, rule.file, rule.stages) == ("ours", Blame.QUOTA, "own.toml", frozenset(Stage))


def test_own_rows_come_before_ours(tmp_path: Path) -> None:
    file = written(tmp_path, '[[rule]]\nname = "ours"\ncode = "550"\nwords = ["user unknown"]\nblames = "account"\n')
    reply = parse_reply("550 5.1.1 User unknown")
    own, found = with_own(file).match(Stage.RCPT, reply), shipped().match(Stage.RCPT, reply)
    assert own is not None
    assert (own.name, own.blames) == ("ours", Blame.ACCOUNT)
    assert found is not None
    assert found.blames is Blame.RECIPIENT
    assert len(with_own(file).rules) == len(shipped().rules) + 1


def test_the_file_of_the_documentation_works() -> None:
    assert [rule.name for rule in with_own(DOCUMENTED).rules][:2] == [rule.name for rule in read(DOCUMENTED)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "own.toml has no rows: each begins with a line [[rule]]"),
        ("rule = 3", "own.toml has no rows: each begins with a line [[rule]]"),
        ("[rule]", "own.toml has no rows: each begins with a line [[rule]]"),
        ("name = 1", "own.toml: name stands outside of the rows; only [[rule]] is allowed"),
        ("[[rule]]\nname = ", "own.toml is not TOML: "),
        ("[[rule]]\nname = 'x'\nname = 'y'", "own.toml is not TOML: "),
        (ROW.replace("words", "word"), "own.toml: row 1 (ours): word is not a key; did you mean words?"),
        (
            ROW + "colour = 1",
            "own.toml: row 1 (ours): colour is not a key;"
            " allowed are name, code, enhanced, words, stages, blames, source, examples",
        ),
        (ROW + '"a key" = 1', "own.toml: row 1 (ours): a name is not a key; allowed are"),
        (ROW.replace('"ours"', '"Our own"'), "own.toml: row 1: name must be small letters, digits and single dashes"),
        (ROW.replace('name = "ours"\n', ""), "own.toml: row 1: name must be small letters, digits and single dashes"),
        (ROW.replace('"550"', '"250"'), "own.toml: row 1 (ours): code must be a code like 550, 55. or 450|451"),
        (ROW.replace('"550"', "550"), "own.toml: row 1 (ours): code must be a code like"),
        (ROW.replace('"550"', '"55"'), "own.toml: row 1 (ours): code must be a code like"),
        (ROW.replace('"550"', '"55(0"'), "own.toml: row 1 (ours): code must be a code like"),
        (ROW + 'enhanced = "5.7"', "own.toml: row 1 (ours): enhanced must be an enhanced code like 5.7.1, 4.7.*"),
        (ROW + 'enhanced = "5.7.(1"', "own.toml: row 1 (ours): enhanced must be"),
        (ROW.replace("quota", "quotas"), "own.toml: row 1 (ours): blames must be one of account, quota, relay,"),
        (ROW.replace('blames = "quota"', ""), "own.toml: row 1 (ours): blames must be one of account, quota"),
        (ROW.replace('"quota"', '["quota"]'), "own.toml: row 1 (ours): blames must be one of account, quota"),
        (ROW + 'stages = ["later"]', "own.toml: row 1 (ours): stages must be some of connect, greeting, ehlo,"),
        (ROW + 'stages = "rcpt"', "own.toml: row 1 (ours): stages must be a list of texts"),
        (ROW.replace('["volume used up"]', '"volume"'), "own.toml: row 1 (ours): words must be a list of texts"),
        (ROW.replace('["volume used up"]', "[]"), "own.toml: row 1 (ours): words must be a list of texts"),
        (ROW.replace('"volume used up"', "1"), "own.toml: row 1 (ours): words must be a list of texts"),
        (ROW.replace('"volume used up"', '"ok", "* !"'), "own.toml: row 1 (ours): words: phrase 2 must have a letter"),
        (ROW + "source = 1", "own.toml: row 1 (ours): source must be a text"),
        (ROW + 'examples = ["250 ok"]', "own.toml: row 1 (ours): examples: reply 1 must begin with the three digits"),
        (
            ROW + 'examples = ["550 volume used up", "550 5.1.1 no"]\nstages = ["rcpt"]',
            "own.toml: row 1 (ours): examples: reply 2 is decided by row bad-mailbox of replies.toml (shipped) at rcpt",
        ),
        (ROW + 'examples = ["550 no"]\nstages = ["rcpt"]', "examples: reply 1 is decided by no row at rcpt"),
        (
            ROW.replace('words = ["volume used up"]\n', "").replace("550", "55."),
            "own.toml: row 1 (ours): enhanced or words must be given too, unless code is exact",
        ),
        (ROW + ROW, "own.toml: row 2 (ours): name is that of row 1 too"),
    ],
)
def test_the_line_says_what_is_wrong_and_what_is_allowed(text: str, line: str, tmp_path: Path) -> None:
    said = refusal(written(tmp_path, text))
    assert line in said
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.toml") == "gone.toml can't be read: No such file or directory"
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path / "odd.toml") == "odd.toml is not UTF-8 text"
