"""Shows the results. Pure."""

from collections.abc import Sequence

from tests.faults.trial import Result

HEADS = ("scenario", "due", "waits", "lost", "twice", "at most", "stuck", "recovered", "took", "broken")
LEFT = {0, len(HEADS) - 1}
MOST_BREACHES = 8


def table(results: Sequence[Result]) -> str:
    """Returns a table with one row a scenario."""
    rows = [HEADS, *map(_cells, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows) + "\n"


def breaches(results: Sequence[Result]) -> str:
    """Returns what should not have happened, in words. It is empty if all is well."""
    lines = []
    for result in results:
        found = result.findings.breaches
        lines += [f"{result.scenario}: BREACH: {breach}" for breach in found[:MOST_BREACHES]]
        if len(found) > MOST_BREACHES:
            lines.append(f"{result.scenario}: ... and {len(found) - MOST_BREACHES} more")
    return "".join(f"{line}\n" for line in lines)


def _cells(result: Result) -> tuple[str, ...]:
    found = result.findings
    numbers = (found.due, found.waiting, found.lost, found.twice, found.bound, found.stuck)
    broken = ", ".join(f"{count} x {what}" for what, count in sorted(result.broken.items()))
    broken += "".join(f"; {count:,} told by {host}" for host, count in result.told_by.items())
    name = result.scenario + (" BREACH" if found.breaches else "")
    return (
        name,
        *(f"{number:,}" for number in numbers),
        f"{result.recovered:.1f} s",
        f"{result.seconds:.0f} s",
        broken,
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if place in LEFT else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
