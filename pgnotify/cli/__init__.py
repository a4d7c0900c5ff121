"""The command line: it reads arguments and prints results. Needs the extra ``[cli]``.

- `app`: which commands there are, their options, and the exit code.
- `outbox`: the commands `pgnotify outbox …`.
- `demo`: the notifications that `pgnotify demo` sends, and its report of them.
"""
