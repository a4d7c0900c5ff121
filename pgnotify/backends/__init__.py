"""One module for each driver, loaded by name when a connection of its driver is passed.

- Drivers: `psycopg`, `psycopg2`, `pg8000`, `pygresql`.
- Asynchronous drivers: `asyncpg`, `psycopg_async`.
- Objects that hold a driver's connection: `sqlalchemy`, `sqlalchemy_async`, `django`.

What they share:

- `_steps`: the verbs as steps, for all drivers that run SQL, whether they block or not.
- `_driver`: the verbs of a driver that blocks and has a descriptor to wait for.
- `_async_driver`: the verbs of a driver that runs on an event loop, as coroutines.
- `_collecting`: an inbox, for drivers that read notifications along with statements.
- `_psycopg`: libpq's state and the way of its notifications, for both kinds of psycopg's connections.
- `_holder`: the verbs, for objects that may replace the connection that they hold.
- `_async_holder`: the same, for connections of asynchronous drivers.
- `_transactions`: the states of a transaction, and what may be called inside one.
- `_health`: the statement of a health check, and its answer.
- `_versions`: the releases of libpq and of the protocol, from libpq's numbers.
- `_encodings`: which texts do not survive the client_encoding, and which no parameter may have.
- `_parameters`: finds the parameters of a statement, for drivers that write them in another way than $1.

What pg8000 and asyncpg need in addition, because they have no libpq:

- `_messages`: the bytes of PostgreSQL's messages.
- `_without_libpq`: the parameters of a connection string that they can express.
- `_pg8000_connect`: a connection from the parameters of a connection string.
- `_pg8000_socket`: the socket of it, and which lengths of messages it believes.
- `_pg8000_messages`: reads one message, and judges its bounds.
- `_asyncpg_connect`: a connection from the parameters of a connection string.
- `_asyncpg_tap`: takes the notifications out of the stream, before asyncpg reads them.

`_pyinstaller` has the hook that makes an application frozen by PyInstaller include all backends.
"""
