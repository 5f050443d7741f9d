"""`make bench`: measures how fast the whole line is with real processes, beside other software.

`python -m tests.bench --help` lists the options. Each module measures one thing, and its docstring says how. `figures`,
`fit`, `plot`, `simulation` and `sizing` are pure, the others start processes. Everything runs on 127.0.0.1 and is ended
by its process id.
"""
