"""What happens in which order, without I/O; and the one module that performs it.

A program is a generator that asks for actions and is sent their outcomes.

- `state`: the states, and which one follows on which input.
- `actions`: what a program may ask for.
- `watch`: what is remembered between the steps of a program.
- `verbs`: listen, unlisten, notify and close, as programs.
- `commands`: what other threads ask the loop for.
- `ownership`: one thread at a time uses a connection.
- `runner`: performs the actions on a backend; it decides nothing.
"""
