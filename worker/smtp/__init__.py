"""The door to the relays: mails in, one outcome for each mail out.

`mailer` keeps the connections and starts runs; a `run` spreads the mails of one source over connections; a connection
is a `session` (a command and its reply at a time) or a `pipeline` (RFC 2920). `rules` has what both keep to. May import
domain.
"""

__all__ = [
    "mailer",
    "rules",
]
