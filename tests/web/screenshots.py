"""Takes the pictures of the pages for admins in docs/pictures, from a demo: `make screenshots`.

The demo runs in a folder of its own, with its own Redis, database and inbox. Pictures differ from run to run in times
and numbers, so they are taken when the pages have changed, and not by the tests.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.polling import eventually
from tests.web import nodes, tools

PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"
_LINK: Final = re.compile(r"(http://127\.0\.0\.1:\d+)(/admin/first/\S+)")


def main() -> int:
    """Takes them. Returns 1 if a program is missing."""
    if missing := tools.missing() or ("" if tools.chromium() else "there is no Chromium"):
        sys.stdout.write(f"No pictures are taken: {missing}\n")
        return 1
    tools.install()
    with tempfile.TemporaryDirectory(prefix="stockbell-pictures-") as folder:
        said = Path(folder) / "said"
        with said.open("wb") as output:
            demo = subprocess.Popen(
                [Path(sys.executable).parent / "stockbell", "demo", "--shop"],
                cwd=folder,
                stdout=output,
                stderr=output,
                env=os.environ | {"COLUMNS": "400"},  # a link in one line
            )
        try:
            eventually(lambda: demo.poll() is not None or _LINK.search(said.read_text()))
            found = _LINK.search(said.read_text())
            if found is None:
                sys.stdout.write(f"The demo did not start:\n{said.read_text()}")
                return 1
            taken = nodes.run("screenshots.mjs", base=found[1], link=found[2], folder=str(PICTURES))
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait()
    for name in taken:
        sys.stdout.write(f"docs/pictures/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
