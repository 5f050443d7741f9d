"""Takes the pictures of the pages for admins in docs/pictures, from a demo: `make screenshots`.

The demo runs in a folder of its own, with its own Redis, database and inbox. Pictures differ from run to run in times
and numbers, so they are taken when the pages have changed, and not by the tests.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.web import nodes, tools

PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"


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
            taken = nodes.run("screenshots.mjs", said=str(said), folder=str(PICTURES))
        except AssertionError as error:
            sys.stdout.write(f"{error}\nThe demo said:\n{said.read_text()}\n")
            return 1
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait()
    for name in taken:
        sys.stdout.write(f"docs/pictures/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
