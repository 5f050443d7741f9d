"""Receipts: what a relay says when it takes a mail, as it is stored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.replies import RECEIPT_LIMIT, Reply, one_line, receipt


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2.0.0 Ok: queued as 4XyZ1b2c3d", "2.0.0 Ok: queued as 4XyZ1b2c3d"),
        ("OK id=1tGxyz-0000ab-Cd", "OK id=1tGxyz-0000ab-Cd"),
        ("2.0.0 ok\nqueued as 4711", "2.0.0 ok queued as 4711"),
        ("Ok 0102018c-5f3e-000000", "Ok 0102018c-5f3e-000000"),
        (
            "2.6.0 <0192-7@shop.example> [InternalId=731341, Hostname=DB9.prod.outlook.com] Queued mail for delivery",
            "2.6.0 <***@***> [InternalId=731341, Hostname=DB9.prod.outlook.com] Queued mail for delivery",
        ),
        ("2.1.5 jane.doe@example.com Ok", "2.1.5 ***@*** Ok"),
        ("<jane.doe>... Sent (4711)", "<***>... Sent (4711)"),
        ("queu\u00e9 4711", "queu\u00e9 4711"),
        ("ok\x00 4711", "ok 4711"),
        ("ok\udcff 4711", "ok 4711"),
        ("\x1b[31mok", "[31mok"),
        ("\u202eok", "ok"),
        ("\u061cok\u2060\U000e0041", "ok"),
        ("x" * 4096, "x" * RECEIPT_LIMIT),
        (" " * 4096, None),
        ("\r\n\t", None),
        ("", None),
    ],
)
def test_a_receipt_is_one_clean_line(text: str, stored: str | None) -> None:
    assert receipt(Reply(250, text)) == stored


@settings(max_examples=100)
@given(st.text(st.characters() | st.characters(categories=["Cs", "Cc"]), max_size=300))
def test_it_is_what_one_line_says(text: str) -> None:
    said = receipt(Reply(250, text))
    assert (said or "") == one_line(text)[:RECEIPT_LIMIT].strip()
    (said or "").encode()
    assert "\x00" not in (said or "")
