"""The ledger of listeners that read an outbox: every committed message is delivered, and no gap excuses a missing one.

- `sender`: who stores the numbered messages, in several sessions at once, some of whose transactions are rolled back.
- `participant`: what the listeners have in common; `listeners`, `async_listeners`: those of this process.
- `effects`: what consumers that take batches have done, in a table.
- `processes`: those of processes that are killed, and `reader`: what runs there.
- `judge`: reads the books.
"""
