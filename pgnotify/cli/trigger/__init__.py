"""`pgnotify trigger`: SQL for triggers that notify of changed rows.

- `trigger`: the command, and its options.
- `statements`: the SQL text, which needs no extra and opens nothing.
- `condition`, `names`: an SQL condition, and several names in one argument.
"""
