"""The command line: it reads arguments and prints results. Needs the extra ``[cli]``.

- `app`: which commands there are, and `--version`.
- `command_line`: what holds for all of them: errors in one line, exit codes, `--debug`.
- `errors`: the line that an error becomes, without secrets.
- `options`, `target`: the options that several commands have, and the server that they choose.
- `interruption`: how Ctrl-C and SIGTERM end a command that runs until then.
- `output`, `lines`: its lines, each written whole, in plain text or JSON, and safe for a terminal.
- `messages`: its messages on standard error, which are the listener's log.
- `listening`, `arrivals`: its listener, and the notifications and gaps that wait for it.
- `listen`, `printer`, `execute`: the command `listen`, its lines, and the command that it runs for each notification.
- `notify`, `input_lines`, `sending`: the command `notify`, the lines of its input, and their batches.
- `top`, `view`, `keys`: the command `top`, how it shows its tables, and the key that ends it.
- `screen`, `traffic`, `others`: its tables, the numbers in them, and the other sessions that listen.
- `bench`, `check`, `demo`, `doctor`, `drivers`, `outbox`, `outbox_replicate`, `trigger`: a command each, or a group.
- `inventory`: what `drivers` shows.
- `trigger_sql`, `condition`: the statements that `trigger` prints, and the SQL condition in them.
- `names`: several names in one argument.
- `examination`, `findings`: the facts that `doctor` finds out, and its verdicts on them.

`pgnotify --help` must be quick. So a command's module imports typer at its top, and in its function the modules that
the command works with. Rich is imported where something is drawn.
"""
