"""What `make setup` installs on machines of other kinds than this one."""

import subprocess
import sys

import pytest

from tests.audit import pins
from tests.unit.test_project import LOCK, ROOT
from tests.wheels import GLIBC_ONLY, missing, without


@pytest.mark.parametrize(
    ("system", "libc", "packages"),
    [
        ("Linux", ("glibc", "2.28"), ()),
        ("Linux", ("glibc", "2.41"), ()),
        ("Linux", ("glibc", "3.0"), ()),
        ("Linux", ("glibc", "2.17"), GLIBC_ONLY),
        ("Linux", ("", ""), GLIBC_ONLY),
        ("Linux", ("musl", "1.2.5"), GLIBC_ONLY),
        ("Darwin", ("", ""), ()),
    ],
)
def test_a_c_library_without_wheels_is_known(system: str, libc: tuple[str, str], packages: tuple[str, ...]) -> None:
    assert missing(system, libc) == packages


def test_the_rest_of_the_lock_stays_as_it_is() -> None:
    left = without(GLIBC_ONLY, LOCK)
    assert pins(left) == {name: pin for name, pin in pins(LOCK).items() if name not in GLIBC_ONLY}
    assert set(GLIBC_ONLY) <= pins(LOCK).keys()
    assert without((), LOCK) == LOCK


@pytest.mark.parametrize(
    ("libc", "machine", "code", "says"),
    [
        (("glibc", "2.36"), "x86_64", 0, ""),
        (("glibc", "2.36"), "aarch64", 0, ""),
        (("", ""), "x86_64", 0, "The servers for demo and tests need glibc 2.28 or newer. Put redis-server"),
        (("glibc", "2.36"), "riscv64", 1, "Stockbell's packages have no wheels for Linux riscv64"),
    ],
)
def test_what_to_bring_is_one_line(libc: tuple[str, str], machine: str, code: int, says: str) -> None:
    here = f"import platform; platform.machine = lambda: {machine!r}; platform.libc_ver = lambda: {libc!r}"
    system = "platform.system = lambda: 'Linux'"
    run = [sys.executable, "-c", f"{here}; {system}; from tests.wheels import main; main()"]
    ran = subprocess.run(run, input=LOCK, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr[: len(says)], ran.stderr.count("\n")) == (code, says, bool(says))
    assert len(ran.stdout) == 0 if code else ran.stdout.startswith(LOCK[:100])
