"""What the entry points do: each service joins the doors (stream, store, queue, smtp) into one deed.

In: the parts that `processes.bootstrap` made, and values from a command or an event. Out: values to show, or an error
of `domain.errors`. May import delivery, mail, the doors, domain.
"""
