"""The command line: it reads arguments and prints results. Needs the extra ``[cli]``.

- `app`: which commands there are, and `--version`.
- `bench`, `check`, `demo`, `doctor`, `drivers`: a command each. `listen`, `notify`, `outbox`, `top` and `trigger` have
  a folder, since they do more than one thing.
- `demonstration`: the program that `demo` runs.
- `examination`, `findings`: the facts that `doctor` finds out, and its verdicts on them.

For all of them:

- `command_line`: errors in one line, exit codes, `--debug`. `errors`: the line that an error becomes, without secrets.
- `options`, `target`: the options that several commands have, and the server that they choose.
- `listening`, `interruption`: a listener for the command line, and its end by Ctrl-C or SIGTERM.
- `output`, `lines`, `drawing`: lines that are written whole and are safe for a terminal, and tables.
- `streams`: standard streams that are closed, or lack characters.
- `messages`: what is said on standard error, which is the listener's log.
- `inventory`: the drivers and distributions that are installed.

`pgnotify --help` must be quick. So a command's module imports typer at its top, and in its function the modules that
the command works with. Rich is imported where something is drawn.
"""
