"""`make bench`: how fast the whole line is, measured on real processes and beside what else there is.

`python -m tests.bench --help` lists the options. One module measures one thing and says at its top how; `figures` and
`plot` are pure, the rest starts processes. Everything runs on 127.0.0.1 and is ended by its process id.
"""
