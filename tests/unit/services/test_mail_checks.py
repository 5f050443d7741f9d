"""What is told of a mail before it is sent."""

from pathlib import Path

import pytest

from worker.mail.sources import Sources
from worker.services import mail_checks
from worker.services.mail_checks import Opened, excerpt


def test_a_part_that_is_missing_is_named() -> None:
    assert mail_checks.parts(Opened("s", "text", "<p>")).is_kept
    assert "no HTML" in mail_checks.parts(Opened("s", "text", " ")).text
    assert "no plain text and no HTML" in mail_checks.parts(Opened("s", "", "")).text


@pytest.mark.parametrize(("subject", "is_kept"), [("", False), ("x" * 70, True), ("x" * 71, None), ("x" * 151, False)])
def test_a_subject_that_is_not_shown_as_a_whole_is_told(subject: str, is_kept: bool | None) -> None:
    assert mail_checks.subject(subject).is_kept is is_kept


def test_both_parts_lead_to_the_item() -> None:
    url = "https://shop.example/p?a=1&b=2"
    assert mail_checks.link(Opened("s", url, '<a href="https://shop.example/p?a=1&amp;b=2">'), url).is_kept
    assert "the HTML has no link" in mail_checks.link(Opened("s", url, "<a>"), url).text
    assert mail_checks.link(Opened("s", url, url), None).is_kept is False


def test_the_lines_around_an_error_are_shown(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "body.txt").write_text("\n".join("abcdefghij"))
    found = excerpt(Sources(tmp_path), "template mail/body.txt: line 5: no such filter")
    assert found is not None
    name, lines = found
    assert name == "mail/body.txt"
    assert [(line.number, line.text, line.is_meant) for line in lines][3] == (5, "e", True)
    assert len(lines) == 7
    assert excerpt(Sources(tmp_path), "template mail/gone.txt: line 5: x") is None
    assert excerpt(Sources(tmp_path), "no template is named") is None
