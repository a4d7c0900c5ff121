"""From a connection string to an open connection. Nothing here knows a loop.

What a connection string means:

- `conninfo`: how one is read, overridden by options, and written.
- `dialect`: what a URI means that names its driver.
- `keywords`: which keywords exist, their environment variables, and which values they accept.
- `defaults`: what the service file and the environment add.
- `hosts`: which addresses to try, and in which order.
- `lookup`: all addresses of their names.
- `tls`: which attempts to make, with TLS or without, and what each of them verifies.
- `user_files`: where the certificates and passwords of a user are.
- `passfile`: which password a password file has for an address.
- `redact`: what a log may show of a string.

How a connection is opened, and opened again:

- `source`: where a Listener's connections come from: a connection string, a function, or one connection.
- `attempt`: one attempt, in a thread of its own, which can be abandoned.
- `session_name`: what the server shows a connection as.
- `retryable`: whether another attempt may succeed after an error.
- `backoff`: how long to wait before it.

What can be done to an open connection from outside its driver:

- `watchdog`: end a call that takes too long.
- `silence`: how long the peer has been silent.
- `socket_handle`: shut it down, set keepalive on it, forget it in a forked child.
"""
