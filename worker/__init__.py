"""Stockbell: from an inventory event to a recorded mail.

The rooms, in the order of the data: `processes` are what ops start; `services` what they do; `stream` is where events
come from, `store` where requests are, `queue` how workers are rung for; `delivery` claims, sends and records; `mail`
makes one customer's mail; `smtp` hands it to a relay; `domain` has the values and rules. People use `cli` and `demo`.
Start reading at `delivery.deliver`. `docs/glossary.md` explains the words, and `docs/architecture.md` the design.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # pip refuses to install there, but a checkout can be run
    sys.exit(f"Stockbell needs Python 3.11 or newer, and this is Python {sys.version.split()[0]}")

# structlog imports rich wherever it is installed, for tracebacks that we don't draw: 5 MB in every worker process.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail, for the next line only
    import structlog  # noqa: F401

    del sys.modules["rich"]
