"""`python -m worker` is `stockbell`."""

from config.start import main

main()
