"""A clock for code that takes its clock as a parameter."""


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
