"""The proof of work: what ALTCHA's widget sends is right once found, in time, and as we asked."""

import base64
import hashlib
import json
from typing import Any

import pytest

from worker.domain import altcha
from worker.domain.tokens import Tokens

TOKENS = Tokens([b"a" * 32])
NOW = 1_700_000_000.5


def solved(asked: dict[str, object]) -> dict[str, Any]:
    """Returns what ALTCHA's widget sends, before it is base64."""
    number = next(
        number
        for number in range(altcha.MOST)
        if hashlib.sha256(f"{asked['salt']}{number}".encode()).hexdigest() == asked["challenge"]
    )
    return {**{name: asked[name] for name in ("algorithm", "challenge", "salt", "signature")}, "number": number}


def packed(answer: object) -> str:
    return base64.b64encode(json.dumps(answer).encode()).decode()


ASKED = altcha.challenge(TOKENS, NOW)
ANSWER = solved(ASKED)


def test_a_right_answer_counts_until_it_expires() -> None:
    found = altcha.answered(packed(ANSWER), TOKENS, NOW)
    assert found == altcha.Answered(str(ASKED["challenge"]), altcha.GOOD_SECONDS - 0.5)
    assert altcha.answered(packed(ANSWER), TOKENS, NOW + altcha.GOOD_SECONDS - 1)
    assert altcha.answered(packed(ANSWER), TOKENS, NOW + altcha.GOOD_SECONDS) is None
    assert altcha.answered(packed(ANSWER), Tokens([b"b" * 32, b"a" * 32]), NOW)
    assert altcha.answered(packed(ANSWER), Tokens([b"b" * 32]), NOW) is None


def test_no_digit_moves_from_the_number_into_the_time() -> None:
    salt, number = ANSWER["salt"], str(ANSWER["number"])
    for place in range(1, len(number)):
        longer = {**ANSWER, "salt": salt + number[:place], "number": int(number[place:])}
        assert altcha.answered(packed(longer), TOKENS, NOW) is None
    shorter = {**ANSWER, "salt": salt[:-2], "number": int(f"{ANSWER['number']}")}
    assert altcha.answered(packed(shorter), TOKENS, NOW) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": ANSWER["number"] + 1},
        {"number": -1},
        {"number": float(ANSWER["number"])},
        {"number": str(ANSWER["number"])},
        {"number": True},
        {"number": None},
        {"number": 10**400},
        {"salt": None},
        {"salt": []},
        {"salt": str(ASKED["salt"]).replace("expires=1", "expires=9")},
        {"salt": f"{ASKED['salt']}&"},
        {"salt": "\ud800"},
        {"algorithm": "SHA-1"},
        {"algorithm": None},
        {"signature": "0" * 32},
        {"signature": "é" * 32},
        {"signature": "\ud800"},
        {"signature": None},
        {"signature": 1},
    ],
)
def test_a_changed_answer_is_none(wrong: dict[str, object]) -> None:
    assert altcha.answered(packed({**ANSWER, **wrong}), TOKENS, NOW) is None


@pytest.mark.parametrize(
    "payload",
    [
        *("", "x", "e30=", "bnVsbA==", "W10=", "MQ==", "=", "ünlesbar", "W1tb" * 200, "W1tb" * 20_000),
        *(packed(ANSWER)[:-4], packed(ANSWER) + "!", base64.b64encode(b"\xff\xfe{}").decode()),
    ],
)
def test_what_is_no_answer_is_none(payload: str) -> None:
    assert altcha.answered(payload, TOKENS, NOW) is None


def test_challenges_differ_and_name_no_secret() -> None:
    other = altcha.challenge(TOKENS, NOW)
    assert other["salt"] != ASKED["salt"]
    assert set(other) == {"algorithm", "challenge", "maxnumber", "salt", "signature"}
