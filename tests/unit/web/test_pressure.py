"""Whether programs wait for a CPU, by what Linux tells."""

from pathlib import Path

import pytest

from tests.clock import Clock
from worker.web.pressure import CpuPressure

SOME = "some avg10=0.00 avg60=1.50 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "cpu"
    path.write_text(SOME.format(5_000_000))
    return path


def test_the_time_since_the_last_look_counts(source: Path) -> None:
    clock = Clock()
    pressure = CpuPressure(source, clock)
    assert not pressure.is_high()
    clock.now += 10
    source.write_text(SOME.format(5_000_000 + 6_000_000))
    assert pressure.is_high()
    clock.now += 10
    source.write_text(SOME.format(5_000_000 + 6_000_000 + 4_000_000))
    assert not pressure.is_high()


def test_a_look_right_after_another_says_the_same(source: Path) -> None:
    clock = Clock()
    pressure = CpuPressure(source, clock)
    clock.now += 10
    source.write_text(SOME.format(15_000_000))
    assert pressure.is_high()
    clock.now += 0.01
    assert pressure.is_high()


@pytest.mark.parametrize("text", [None, "", "no such words", "some total=many"])
def test_where_nothing_tells_it_there_is_none(source: Path, text: str | None) -> None:
    source.unlink()
    if text is not None:
        source.write_text(text)
    clock = Clock()
    pressure = CpuPressure(source, clock)
    clock.now += 10
    assert not pressure.is_high()
