"""How many examples hypothesis tries: `EXAMPLES=100 make test ARGS="-k model"` tries a hundred times as many."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

TIMES: Final = int(os.environ.get("EXAMPLES", "1"))


def examples(number: int) -> settings:
    """Returns settings for `number` examples, or a multiple of it, on a machine that may be busy."""
    return settings(max_examples=number * TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
