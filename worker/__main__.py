"""`python -m worker` is `stockbell`."""

from worker.cli import main

main()
