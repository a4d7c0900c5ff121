"""Programs, which decide the order of events without I/O; and the one module that performs them.

A program is a generator. It yields actions, and is sent their outcomes.

- `state`: the states, and which state follows on which input.
- `actions`: the actions that a program may yield.
- `watch`: the memory of a program between its steps.
- `verbs`: listen, unlisten, notify and close, as programs.
- `commands`: how a loop carries out the requests of other threads.
- `ownership`: which thread may use a connection; only one at a time.
- `interruption`: which errors a signal handler has raised; they end what runs, and decide nothing.
- `ctrl_c`: when Ctrl-C is held back, and until when.
- `forks`: what a forked child may still do with its parent's connection.
- `runner`: performs the actions on a backend. It decides nothing.
"""
