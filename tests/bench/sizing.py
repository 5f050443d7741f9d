"""Writes the shipped costs into docs/operations.md: `python -m tests.bench.sizing`.

What lies between `<!-- NAME -->` and `<!-- end of NAME -->` is made from `worker/domain/costs.toml`. A test holds the
two together.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from worker.domain.capacity import Demand, Installation, plan
from worker.domain.costs import Costs, Cpu
from worker.services.capacity import Answer, rounded

PAGE = Path(__file__).parents[2] / "docs/operations.md"
SAMPLE = Demand(1_000_000, seconds=600), Installation(relay_seconds=0.02)
PARTS = {
    "worker": "worker",
    "database": "PostgreSQL",
    "redis": "Redis",
    "listener": "listener",
    "relay": "relay",
}
PROCESSES = {
    "worker_child": "each worker child",
    "worker_parent": "`stockbell work` itself",
    "listener": "`stockbell listen`",
    "scheduler": "`stockbell schedule`",
}


def example(costs: Costs) -> str:
    demand, there = SAMPLE
    lines = "\n".join(Answer(plan(demand, there, costs), there, costs).lines())
    return f"```text\n{lines}\n```"


def source(costs: Costs) -> str:
    about = costs.source
    return f"Measured on {about.date}, {about.machine}, {about.versions}, with a mail of {about.mail_bytes:,.0f} bytes:"


def cpu(costs: Costs) -> str:
    rows: Mapping[str, Cpu] = {
        "a mail": costs.mail,
        "a mail without pipelining": costs.plain,
        "TLS adds to a mail": costs.tls,
        "an item that comes back adds": costs.item,
    }
    head = f"| CPU time, µs | {' | '.join(PARTS.values())} |\n|---|{'---|' * len(PARTS)}\n"
    return head + "\n".join(
        f"| {name} | {' | '.join(rounded(getattr(cost, part)) for part in PARTS)} |" for name, cost in rows.items()
    )


def processes(costs: Costs) -> str:
    head = "| process | memory, MB | connections to the database |\n|---|---|---|\n"
    return head + "\n".join(
        f"| {words} | {rounded(getattr(costs.megabytes, name))} | {getattr(costs.database_connections, name):.0f} |"
        for name, words in PROCESSES.items()
    )


def traffic(costs: Costs) -> str:
    found = costs.bytes
    return "\n".join(
        [
            "| of each mail | bytes |",
            "|---|---|",
            f"| to the relay, with its answers | {rounded(found.relay)} |",
            f"| to the database and back | {rounded(found.database)} |",
            f"| write-ahead log; more just after a checkpoint | {rounded(found.wal)} |",
        ]
    )


BLOCKS: Mapping[str, Callable[[Costs], str]] = {
    "example": example,
    "source": source,
    "cpu": cpu,
    "processes": processes,
    "traffic": traffic,
}


def filled(page: str, costs: Costs) -> str:
    """Returns the page with all blocks made from these costs."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = before + begin + block(costs) + end + rest.partition(end)[2]
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), Costs.read()))
