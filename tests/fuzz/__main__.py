"""Coverage-guided fuzzing: `pip install atheris`, then `python -m tests.fuzz events -max_total_time=600`.

Atheris is not in the lock: it is 35 MB, and exists for few versions of Python. The arguments after the target's name go
to libFuzzer.
"""

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Runs until something is found or the time is over."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("there is no atheris here: pip install atheris")
    with atheris.instrument_imports(include=["worker"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [libFuzzer's options]")
    name, *options = sys.argv[1:]
    corpus = Path(tempfile.mkdtemp(prefix=f"stockbell-fuzz-{name}-"))  # it stays: libFuzzer adds new finds to it
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


main()
