"""Stockbell: from an inventory event to a recorded mail. Start reading at `deliver`."""

import sys

# structlog imports rich wherever it is installed, for tracebacks that we don't draw: 5 MB in every worker process.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail, for the next line only
    import structlog  # noqa: F401

    del sys.modules["rich"]
