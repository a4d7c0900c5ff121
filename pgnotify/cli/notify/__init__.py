"""`pgnotify notify`: send a notification, or one for each line of standard input.

- `notify`: the command, and its options.
- `input_lines`: the lines of its input, checked. `sending`: their batches, and how many were sent.
"""
