"""One customer's mail: from a claim and the facts about its item to the bytes that follow DATA.

In: a `Claim`, the item's facts, template files. Out: a `Mail`, or the reason why there is none. `letter` decides what
is shared by many customers, `render` knows Jinja, `message` composes by RFC 5322. May import smtp and store (for the
values `Mail` and `Claim`), domain.
"""

__all__ = [
    "letter",
    "message",
    "render",
]
