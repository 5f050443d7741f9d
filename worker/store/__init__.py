"""All SQL. Each module has one concern; its functions take a transaction and read or change rows.

`database` opens transactions, `sql` holds statements for both dialects, and `errors` translates database errors.
`lists` selects the requests that may be sent and rings bells. `stock` applies events. `requests` creates and reads
requests, and `waiters` counts those of one item. `request_list` pages through them, `request_query` answers queries of
Wix's API, `reach` whom an event would reach, `collections` what is collected. `owners` keeps the heartbeats of the
processes that hold claims. `claims` makes and releases claims, and `recording` writes their outcomes. `sweep` rescues
claims, `expiry` ends what has waited for too long, and `retention` deletes what ended long ago. `breaker` and `pauses`
stop sending. `admin` has the commands for admins. `reports` applies what came back for mails, `report_log` reads it,
and `suppression` keeps who gets no mail. `signups` limits what publishable keys may add, and `leaving` is what a
customer's own page does. `places` keeps how far mailboxes were read. `history` keeps the events that were applied, and
`stories` reads all that is known of one request. `keys` and `hooks` are of the HTTP process. `outbox`, `endpoints` and
`deliveries` tell others of changes. `unconfirmed` and `confirmations` are double opt-in. `quiet_hours` tells when mails
go out again. `figures` and `states` count rows, `tally` counts what happens to them, `tally_merge` adds that up, and
`books` compares the two. `demand` and `items` tell who waits for what, and `restocks` knows the first claim of each.
`contact_intervals` and `resting` see to it that customers get one mail in a while. `rehearsing` looks ahead for dry
runs. `schema` compares versions.
"""
