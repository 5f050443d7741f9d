"""The door to SQL: one module per concern, functions that take a transaction and change rows.

`database` opens transactions and speaks both dialects; `lists` knows who may be told (the fragment `CLAIMABLE`);
`stock` applies events; `requests` creates and reads; `claims` is the life of a claim; `sweep` rescues;
`breaker` and `pauses` stop the line; `admin` has the verbs of people; `figures` counts.
"""
