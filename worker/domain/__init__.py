"""The values and rules of the program: pure functions with the clock passed in.

Contains events and their fields, catalog references, stock rules, replies of relays, what they mean and have in common,
outcomes of one attempt, verdicts on requests, what comes back for mails, how it is judged, the tokens and headers that
name mails and what they prove, what others are told of requests, keys of the HTTP API, who may do what on the pages for
admins, and whether a page of ours sent a form, how it goes as one sentence, kinds of hooks, languages, URLs of relays
and of sentinels, the token bucket, the moving window, proofs of work, how options differ, measured costs and what
follows from them, quantiles of what is known by bucket, amounts as people write them, what records of the DNS say,
queries of the HTTP API, the times at which mails go out, a shop's colours, and the shared errors.
Imports no other room of this program.
"""

__all__ = [
    "admins",
    "alignment",
    "altcha",
    "api_keys",
    "bounces",
    "brand",
    "capacity",
    "catalog",
    "costs",
    "difference",
    "errors",
    "event_details",
    "event_facts",
    "event_fields",
    "events",
    "going",
    "histogram",
    "hook_kinds",
    "hosts",
    "imap_account",
    "languages",
    "ledger",
    "moving_window",
    "origins",
    "outcomes",
    "outgoing_urls",
    "policies",
    "providers",
    "quantities",
    "recognition",
    "redis_url",
    "relays",
    "replies",
    "reply_groups",
    "reply_phrases",
    "reply_rules",
    "return_path",
    "returned",
    "rsa_keys",
    "send_window",
    "spf",
    "stock",
    "tag_lists",
    "token_bucket",
    "tokens",
    "verdicts",
    "webhooks",
    "wix_filter",
    "wix_query",
]
