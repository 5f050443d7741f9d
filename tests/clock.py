"""Time for whatever is passed its clock."""


class Clock:
    """Goes only when it is told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
