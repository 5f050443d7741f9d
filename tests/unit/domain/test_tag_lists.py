"""Tag lists of DKIM and DMARC."""

import pytest

from worker.domain.tag_lists import parse_tags, without_blanks


def test_a_list_is_read_with_its_blanks_and_an_empty_end() -> None:
    assert parse_tags("v=DKIM1; k = rsa;\r\n\tp=MIG\r\n f==; ") == {"v": "DKIM1", "k": "rsa", "p": "MIG\r\n f=="}
    assert parse_tags("p=") == {"p": ""}
    assert without_blanks("MIG\r\n\t f==") == "MIGf=="


@pytest.mark.parametrize("text", ["", ";", "v", "v=1;;p=2", "v=1; v=1", "=1", "1v=1", "v=1; p"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="name=value"):
        parse_tags(text)
