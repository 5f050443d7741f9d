"""Reading replies: the result is the same however the network cut or joined them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.smtp.replies import REPLY_LIMIT, ReplyReader

WORDS = b"250 2.0.0 ok\r\n354 go\r\n250-one\r\n250-two\r\n250 three\r\n550\r\n250 bare\n"
REPLIES = [(250, b"2.0.0 ok"), (354, b"go"), (250, b"one\ntwo\nthree"), (550, b""), (250, b"bare")]


def read(*packets: bytes) -> tuple[list[tuple[int, bytes]], ReplyReader]:
    reader = ReplyReader()
    replies = [(code, text.strip()) for packet in packets for code, text in reader.feed(packet)]
    return replies, reader


@given(st.lists(st.integers(0, len(WORDS))))
def test_however_they_are_cut_they_are_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WORDS)]
    replies, reader = read(*(WORDS[start:end] for start, end in pairwise(places)))
    assert replies == REPLIES
    assert not reader.is_amid
    assert reader.garbage is None


def test_octet_by_octet() -> None:
    replies, _ = read(*(WORDS[place : place + 1] for place in range(len(WORDS))))
    assert replies == REPLIES


@pytest.mark.parametrize("end", [1, 5, len(b"250-o\r\n"), len(b"250-o\r\n250"), len(b"250-o\r\n250 k")])
def test_a_reply_that_has_begun_is_known(end: int) -> None:
    replies, reader = read(b"250-o\r\n250 k\r\n"[:end])
    assert replies == []
    assert reader.is_amid


@pytest.mark.parametrize(
    "garbage",
    ["what?", "", "25", "2 50 ok", "25x ok", "²50 ok", "-50 ok", "250-one\r\n550 two", "250-one\r\nwhat?", "\x00"],
)
@pytest.mark.parametrize("before", [b"", b"250 ok\r\n"])
def test_what_comes_before_garbage_counts_and_nothing_after_it(garbage: str, before: bytes) -> None:
    replies, reader = read(before + f"{garbage}\r\n250 ok\r\n".encode())
    assert replies == ([(250, b"ok")] if before else [])
    assert reader.garbage


@pytest.mark.parametrize(
    "flood",
    [
        b"x" * (REPLY_LIMIT + 1),
        b"250 " + b"x" * REPLY_LIMIT + b"\r\n",
        b"250-more\r\n" * REPLY_LIMIT,
        b"250-" + b"x" * (REPLY_LIMIT // 2) + b"\r\n250-" + b"x" * (REPLY_LIMIT // 2) + b"\r\n",
    ],
)
@pytest.mark.parametrize("packet", [1000, 10**6])
def test_an_endless_reply_is_not_kept(flood: bytes, packet: int) -> None:
    reader = ReplyReader()
    for start in range(0, len(flood), packet):
        assert reader.feed(flood[start : start + packet]) == []
        if reader.garbage:
            break
    assert reader.garbage == "its reply is too long"
