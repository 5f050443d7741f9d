"""Quantiles of amounts that are known by bucket only, as Prometheus' `histogram_quantile` computes them."""

from collections.abc import Sequence


def quantile(share: float, bounds: Sequence[float], amounts: Sequence[int]) -> float | None:
    """Returns the value that this share (0 to 1, without 0) did not exceed; None if the buckets are empty.

    `bounds` are the upper bounds of the buckets, ascending and positive. `amounts` are what fell into each bucket
    alone, and last what exceeded all bounds. It is interpolated within its bucket, as if all of it lay there evenly.
    What exceeded all bounds is taken for the last one.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share is over 0 and at most 1, not {share}")
    left, low = share * sum(amounts), 0.0
    if not left:
        return None
    for bound, amount in zip(bounds, amounts, strict=False):
        if left <= amount:
            return low + (bound - low) * left / amount
        left, low = left - amount, bound
    return low
