"""Tests with the packages that shops use, from npm and unmodified, and with Chromium: `make test-web`.

They run against a real web process over https. `make test` leaves them out: they need Node.
"""
