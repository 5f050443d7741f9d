"""What `make setup` installs on machines of other kinds than this one."""

import pytest

from tests.audit import pins
from tests.unit.test_project import LOCK
from tests.wheels import POSTGRES, VALKEY, missing, without


@pytest.mark.parametrize(
    ("system", "machine", "libc", "packages"),
    [
        ("Linux", "x86_64", ("glibc", "2.28"), ()),
        ("Linux", "aarch64", ("glibc", "2.41"), ()),
        ("Linux", "x86_64", ("glibc", "3.0"), ()),
        ("Linux", "x86_64", ("glibc", "2.17"), (VALKEY, POSTGRES)),
        ("Linux", "x86_64", ("", ""), (VALKEY, POSTGRES)),
        ("Linux", "x86_64", ("musl", "1.2.5"), (VALKEY, POSTGRES)),
        ("Linux", "riscv64", ("glibc", "2.41"), (VALKEY, POSTGRES)),
        ("Darwin", "arm64", ("", ""), ()),
        ("Darwin", "x86_64", ("", ""), (VALKEY,)),
        ("FreeBSD", "amd64", ("", ""), (VALKEY, POSTGRES)),
    ],
)
def test_a_machine_without_a_wheel_is_known(
    system: str, machine: str, libc: tuple[str, str], packages: tuple[str, ...]
) -> None:
    assert missing(system, machine, libc) == packages


def test_the_rest_of_the_lock_stays_as_it_is() -> None:
    left = without((VALKEY, POSTGRES), LOCK)
    assert pins(left) == {name: pin for name, pin in pins(LOCK).items() if name not in {VALKEY, POSTGRES}}
    assert {VALKEY, POSTGRES} <= pins(LOCK).keys()
    assert without((), LOCK) == LOCK
