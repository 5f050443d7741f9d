"""The demo's shop: a small web server with a product page, on an origin of its own, as a shop's would be.

The page has the sign-up form of `docs/widget.md`. Beside it are the mails of the demo's inbox, for a browser.
"""
