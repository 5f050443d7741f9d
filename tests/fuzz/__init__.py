"""The readers of bytes from outside, fed with anything: `python -m tests.fuzz` and `tests/unit/test_fuzzing.py`."""
