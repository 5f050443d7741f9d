"""The HTTP process: `stockbell web`. An optional extra; no other process imports it.

In: HTTP requests. Out: replies, rows, stream entries. `server` runs the process, `app` puts the routes together, and
`context` is what handlers share. `access` knows who calls, `errors` has the shapes of errors, and `middleware` limits
bodies and names requests. Each module with a `routes` function has the routes of one concern. Handlers call services
and the store in threads (`Context.write`, `Context.read`, `Context.run`), never from the event loop. FastAPI, Starlette
and uvicorn are imported here only.
"""
