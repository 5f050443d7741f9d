"""The table of costs: the shipped one, one of one's own, and what is refused."""

from pathlib import Path

import pytest

from worker.domain.costs import SHIPPED, Costs
from worker.domain.errors import BadCosts

TEXT = SHIPPED.read_text()


def test_the_shipped_table_has_all_costs() -> None:
    costs = Costs.read()
    assert costs.plain.worker > costs.mail.worker > 10
    assert costs.round_trips.plain > costs.round_trips.pipelined >= 0.9
    assert costs.item.worker > costs.mail.worker
    assert costs.bytes.relay > costs.source.mail_bytes > 1000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[mail]", "[mails]"), r"^'mails' is not one of bytes, database_connections,"),
        (("[tls]\n", "[tls]\nwire = 1\n"), r"^\[tls\] 'wire' is not one of database, listener,"),
        (("\nwal = ", "\n# "), r"^\[bytes\] wal must be a number"),
        (("\nwal = ", "\nwal = -"), r"^\[bytes\] wal must be a number, zero or more"),
        (("\nwal = ", "\nwal = nan #"), r"^\[bytes\] wal must be a number, zero or more"),
        (("\nwal = ", "\nwal = true #"), r"^\[bytes\] wal must be a number, zero or more"),
        (('date = "', 'date = 1 # "'), r"^\[source\] date must be text"),
        (("[tls]", "tls = 1\n[other]"), r"is not one of|no section"),
        (("[source]", "[source"), "^is not TOML: "),
    ],
)
def test_what_is_wrong_in_a_table_is_named(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(TEXT.replace(*change, 1))
    with pytest.raises(BadCosts, match=words):
        Costs.read(file)


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(TEXT.partition("[bytes]")[0])
    with pytest.raises(BadCosts, match=r"^has no section \[bytes\]"):
        Costs.read(file)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadCosts, match=r"^can't be read"):
        Costs.read(tmp_path / "none.toml")
