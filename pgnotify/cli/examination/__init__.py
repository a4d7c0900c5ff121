"""The doctor's examination: all that is found out before anything is judged. It needs neither typer nor rich.

- `facts`: the values that are found out.
- `gathering`: finds them out, one after the other.
- `catalog`: the statements for that.
- `delivering`: tries whether notifications arrive.
- `link`: a connection on which each call has a deadline.
"""
