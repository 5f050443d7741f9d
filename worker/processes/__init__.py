"""The processes that ops start: one module for each line of the Procfile, and what puts them together.

In: settings and signals. Out: an exit code. `listener`, `scheduler` and `supervisor` are the lines of the Procfile, and
`bounces` is one where a mailbox is followed; the supervisor starts Celery with `tasks`, whose children each run a
`pool_child`. `bootstrap` makes the parts from the settings. May import every room below: services, delivery, mail, the
five doors, domain.
"""
