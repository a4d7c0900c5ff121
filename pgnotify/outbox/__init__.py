"""The outbox: what a committed transaction stored reaches every listener, also one that was away.

NOTIFY is the hint, the table is the truth, and a position is a snapshot: unread is what a newer snapshot sees and the
position does not. So nothing is skipped when transactions commit in another order than they began, and nobody waits.

- `outbox`: `Outbox`, the class that users call.
- `tables`: the names of an outbox's tables.
- `schema`: the SQL text that makes them, and their rights.
- `replication`: the SQL text that carries the messages to further servers.
- `statements`: the statements that send, read and acknowledge.
- `rows`: what the statement that reads returns.
- `reading`: how a listener reads, without I/O: the part that is the same for all.
- `in_memory`: with a position in memory, and `position`: how far back that goes after a loss.
- `durable`: with a position in the outbox, under a name.
- `sending`: why a message could not be stored.
- `found`: whether there is an outbox, and whether it can be used.
- `steps`: upkeep without I/O, and what runs it; `installing`, `retention`, `rebasing` and `status` are its tasks.
- `asynchronous`: what runs them on an event loop.
- `django`: the outbox as an app of Django's, with a migration.
"""
