"""`pgnotify outbox …`: the tables of an outbox, and their upkeep.

- `outbox`: the group, and all its commands but one.
- `replicate`: the SQL that has the messages copied to a further server.
"""
