"""Measures the outbox beside other ways to store messages in PostgreSQL: `python -m benchmarks.outbox`.

- `ways`: how each of them is installed, sends and reads, one module each.
- `measuring`, `child`: measure each in a process of its own.
- `targets`, `tables`: what was measured, in words.
"""
