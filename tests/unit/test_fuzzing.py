"""Whatever bytes go in, only named errors come out. Counts show that work and memory grow no faster than the input."""

import csv
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain, repeat
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.examples import examples
from tests.fuzz.targets import NOW, SEEDS, TARGETS, WORDS
from worker.domain.event_fields import MAX_EVENT_BYTES
from worker.services.import_file import Rejected, read_requests
from worker.services.import_text import MAX_LINE_BYTES

Edit = tuple[int, int, bytes]
EDITS: Final = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 30), st.sampled_from(WORDS) | st.binary(max_size=8)), max_size=6
)


def edited(seed: bytes, edits: list[Edit]) -> bytes:
    """Returns `seed` with pieces cut out and others put in."""
    for place, length, word in edits:
        cut = place % (len(seed) + 1)
        seed = seed[:cut] + word + seed[cut + length :]
    return seed


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_understood(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@examples(300)
@given(data=st.data())
def test_nearly_right_input_raises_only_named_errors(name: str, data: st.DataObject) -> None:
    TARGETS[name](edited(data.draw(st.sampled_from(SEEDS[name])), data.draw(EDITS)))


@pytest.mark.parametrize("name", TARGETS)
@examples(200)
@given(junk=st.binary(max_size=2000) | st.lists(st.sampled_from(WORDS), max_size=60).map(b"".join))
def test_junk_raises_only_named_errors(name: str, junk: bytes) -> None:
    TARGETS[name](junk)


# What it costs


def work(target: Callable[[bytes], object], data: bytes) -> tuple[int, int]:
    """Returns how many calls (of functions in Python and C) the target makes, and its peak of memory in bytes."""
    calls = 0

    def note(_frame: object, _event: str, _argument: Any) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    tracemalloc.start()
    sys.setprofile(note)
    try:
        target(data)
    finally:
        sys.setprofile(before)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return calls, peak


SIZE: Final = 10_000
CALLS_PER_BYTE: Final = 100
BYTES_PER_BYTE: Final = 200
CALLS_AT_ONCE: Final = 20_000
BYTES_AT_ONCE: Final = 500_000
"""The memory for what is imported, compiled and cached at the first call."""


@pytest.mark.parametrize("name", TARGETS)
@examples(15)
@given(start=st.sampled_from([b"", b"{", b'{"catalogItemId":"', b"\x01250-"]), word=st.sampled_from(WORDS))
@example(start=b"", word=b"1\0")
@example(start=b"", word=b"a\0{},\0")
@example(start=b"\x01", word=b"250-\n")
@example(start=b"\x00", word=b"250 \n")
@example(start=b"email,catalogItemId\n", word=b",\n")
@example(start=b"email,catalogItemId\n", word=b"\\\n")
@example(start=b"email,catalogItemId\n", word=b'"\\\n')
@example(start=b"email,catalogItemId\n", word=b'a,"\n\n\n')
@example(start=b"email,catalogItemId\n", word=b'a@b.example,"a"\n')
def test_the_cost_grows_no_faster_than_the_input(name: str, start: bytes, word: bytes) -> None:
    data = (start + word * SIZE)[:SIZE]
    calls, peak = work(TARGETS[name], data)
    assert calls <= CALLS_PER_BYTE * len(data) + CALLS_AT_ONCE
    assert peak <= BYTES_PER_BYTE * len(data) + BYTES_AT_ONCE


class Endless(BytesIO):
    """A file that is made while it is read, and counts the calls that read it."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        super().__init__()
        self._lines = lines
        self._rest = b""
        self.read_calls = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.read_calls += 1
        assert size is not None
        assert 0 < size <= MAX_LINE_BYTES + 2
        if not self._rest:
            self._rest = next(self._lines, b"")
        line, self._rest = self._rest[:size], self._rest[size:]
        return line


@pytest.mark.parametrize(
    "line",
    [
        b"customer%d@example.com,mug-1,\n",
        b'customer%d@example.com,mug-1,"{""customTextFields"":""' + b"x" * 60_000 + b'%d""}"\n',
        b"customer%d@example.com,mug-1," + b" " * 60_000 + b"{}\n",
        b"x" * 200_000 + b"\n",
        b'"' * 60_000 + b"\n",
        b'customer%d@example.com,mug-1,"open' + b"x" * 60_000 + b"\n\n",
        b'customer%d@example.com,mug-1,"' + b"\n" * 60_000 + b'"\n',
    ],
    ids=["plain", "options", "blanks", "too long", "quotes", "open quotes", "line breaks"],
)
def test_a_long_file_takes_no_more_memory_than_a_short_one(line: bytes) -> None:
    def lines() -> Iterator[bytes]:
        yield b"email,catalogItemId,options\n"
        for number in range(400):
            yield line.replace(b"%d", b"%d" % number)

    def read(_data: bytes) -> None:
        for _ in read_requests(Endless(lines()), "requests.csv", lambda: NOW):
            pass

    _, peak = work(read, b"")
    assert peak < 30 * MAX_LINE_BYTES


def test_an_array_that_never_ends_takes_no_more_memory() -> None:
    def read(_data: bytes) -> None:
        pieces = Endless(chain([b"[{"], repeat(b'"x": "' + b"x" * MAX_LINE_BYTES, 400)))
        [entry] = read_requests(pieces, "requests.json", lambda: NOW)
        assert entry == Rejected(1, f"is over {MAX_LINE_BYTES} bytes")

    _, peak = work(read, b"")
    assert peak < 30 * MAX_LINE_BYTES


def test_a_line_that_never_ends_is_one_rejected_line() -> None:
    pieces = Endless(repeat(b"x" * (MAX_LINE_BYTES + 2), 1000))
    [entry] = read_requests(pieces, "requests.jsonl", lambda: NOW)
    assert entry == Rejected(1, f"is over {MAX_LINE_BYTES} bytes")
    assert pieces.read_calls <= 1002


def test_the_limits_are_what_python_can_take() -> None:
    assert csv.field_size_limit() > MAX_LINE_BYTES
    assert re.fullmatch(rb"x*", b"x" * MAX_EVENT_BYTES)
