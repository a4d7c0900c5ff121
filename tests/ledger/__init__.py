"""The ledger: each notification was delivered once and in order, or lies inside a reported gap.

A sender writes down what it sends, listeners what they receive and which gaps they are told of, while faults strike.
Listeners with an outbox have no gaps for an excuse; see `outbox`.
Then the `judge` reads the books. `python -m tests.ledger --help` says how to run it for longer than the tests do.
"""
