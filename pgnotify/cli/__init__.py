"""The command line: it reads arguments and prints results. Needs the extra ``[cli]``.

- `app`: which commands there are, and `--version`.
- `command_line`: what holds for all of them: errors in one line, exit codes, `--debug`.
- `errors`: the line that an error becomes, without secrets.
- `options`, `target`: the options that several commands have, and the server that they choose.
- `demo`, `doctor`, `outbox`, `outbox_replicate`, `trigger`: a command each, or a group of them.
- `trigger_sql`, `condition`: the statements that `trigger` prints, and the SQL condition in them.
- `names`: several names in one argument.
- `examination`, `findings`: what `doctor` finds out, and what it says of that.

`pgnotify --help` must be quick. So a command's module imports typer at its top, and in its function the modules that
the command works with. Rich is imported where something is drawn.
"""
