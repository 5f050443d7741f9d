"""The SMTP connections to the relays. Input: mails. Output: one outcome for each mail.

`mailer` keeps the connections and starts runs. A `run` distributes the mails of one source over connections. A
connection is a `session` (one command and reply at a time) or a `pipeline` (RFC 2920). `rules` has the common rules.
May import domain.
"""

__all__ = [
    "mailer",
    "rules",
]
