"""Quantiles from buckets: by hand, in general, and compared with Prometheus itself."""

import json
import random
import shutil
import subprocess
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker.domain.histogram import quantile

BOUNDS = (0.5, 1, 2, 10)


def test_a_value_is_interpolated_within_its_bucket() -> None:
    assert quantile(0.5, BOUNDS, [0, 0, 10, 0, 0]) == 1.5
    assert quantile(1, BOUNDS, [0, 0, 10, 0, 0]) == 2
    assert quantile(0.5, BOUNDS, [10, 0, 0, 0, 0]) == 0.25, "the first bucket begins at 0"
    assert quantile(0.5, BOUNDS, [5, 0, 0, 5, 0]) == 0.5, "half of them are in the first bucket"


def test_what_exceeds_all_bounds_is_taken_for_the_last_one() -> None:
    assert quantile(0.95, BOUNDS, [0, 0, 1, 0, 9]) == 10
    assert quantile(0.95, BOUNDS, [0, 0, 0, 0, 1]) == 10


def test_empty_buckets_have_no_quantile() -> None:
    assert quantile(0.5, BOUNDS, [0] * 5) is None


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        quantile(share, BOUNDS, [1] * 5)


amounts_of_five = some.lists(some.integers(0, 1_000_000), min_size=5, max_size=5).filter(any)


@given(amounts_of_five, some.floats(0.001, 1), some.floats(0.001, 1))
def test_a_larger_share_never_has_a_smaller_value(amounts: list[int], one: float, other: float) -> None:
    low, high = quantile(min(one, other), BOUNDS, amounts), quantile(max(one, other), BOUNDS, amounts)
    assert low is not None
    assert high is not None
    assert 0 < low <= high <= BOUNDS[-1]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: apt install prometheus)")
def test_it_is_what_prometheus_computes(tmp_path: Path) -> None:
    chance = random.Random(14)
    tests = []
    for _ in range(60):
        amounts = [chance.choice([0, 1, chance.randrange(5000)]) for _ in range(5)]
        share = chance.choice([0.01, 0.5, 0.95, 0.999, 1])
        counts = zip([*map(str, BOUNDS), "+Inf"], accumulate(amounts), strict=True)
        series = [{"series": f'x_bucket{{le="{bound}"}}', "values": f"{n}"} for bound, n in counts]
        ours = quantile(share, BOUNDS, amounts)
        # Rounded: promtool compares all digits.
        expr = f"round(histogram_quantile({share}, x_bucket) * 1e6)"
        expected = [] if ours is None else [{"labels": "{}", "value": round(ours * 1e6)}]
        expr += " >= 0"  # leaves out NaN, which is what Prometheus says of empty buckets
        question = {"expr": expr, "eval_time": "0s", "exp_samples": expected}
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": [question]})
    path = tmp_path / "tests.yaml"
    path.write_text(json.dumps({"tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
