"""The door to SQL: one module per concern, functions that take a transaction and change rows.

`database` opens transactions, `sql` speaks both dialects, `errors` says what their errors mean; `lists` knows who may
be told, and rings; `stock` applies events; `requests` creates and reads; `owners` are those who hold claims; `claims`
makes claims and gives them back; `recording` writes how they end; `sweep` rescues; `breaker` and `pauses` stop the
line; `admin` has the verbs of people; `figures` counts; `schema` compares versions.
"""
