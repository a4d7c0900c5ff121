"""`pgnotify listen`: a line for each notification.

- `listen`: the command, and its options.
- `arrivals`: the notifications and gaps that wait to be printed, in order and bounded.
- `printer`: prints them. `execute`: runs a command for each of them.
"""
