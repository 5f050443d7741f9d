"""Runs these tests. Says in one line what is not run where a program is missing, and ends with 0 then."""

import subprocess
import sys
from typing import Final

import pytest

from tests.web import tools

ON_DEBIAN: Final = "On Debian: apt-get install nodejs npm chromium"


def main() -> int:
    """Returns pytest's exit code, or npm's."""
    if missing := tools.missing():
        sys.stdout.write(f"The tests with npm's packages and Chromium are not run: {missing}. {ON_DEBIAN}\n")
        return 0
    if not tools.chromium():
        sys.stdout.write(f"The tests in pages are not run: there is no Chromium. {ON_DEBIAN}\n")
    try:
        tools.install()
    except subprocess.CalledProcessError as error:
        return error.returncode
    return pytest.main(["--quiet", str(tools.FOLDER), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
