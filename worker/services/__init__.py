"""The use cases behind the entry points. Each service combines stream, store, queue and smtp for one operation.

A service takes the parts that `processes.bootstrap` built, and values from a command or an event. It returns values to
show, or raises an error of `domain.errors`. It may import delivery, mail, stream, store, queue, smtp and domain.
"""
