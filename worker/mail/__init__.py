"""Composes one customer's mail: from a claim and the facts about its item to the bytes that follow DATA.

Input: a `Claim`, the item's facts, template files. Output: a `Mail`, or the reason why there is none. `letter` makes
mails of letters that are still `unaddressed`, of which many customers share one. `render` fills the templates of
`folders` by Jinja, with words from `catalogues` and looks from `styles`. `details`, `prices` and `conventions` make
facts readable, `message` composes by RFC 5322 with the lines of `letterhead`, and `ways_out` says how the customer
leaves. `confirmation` writes the mail that asks a customer to confirm a sign-up. `sources` has the files, a shop's own
and ours. `inspection` says what is wrong with them, by trying `samples`; `exports` makes those that a shop takes, with
what `vocabulary` says of them; `clients` shows what mail programs make of a page, Outlook for Windows
of its `conditional_comments`. May import smtp and store (for the values `Mail` and `Claim`), and domain.
"""

__all__ = [
    "clients",
    "confirmation",
    "exports",
    "inspection",
    "letter",
    "message",
    "prices",
    "render",
    "samples",
    "sources",
    "vocabulary",
    "ways_out",
]
