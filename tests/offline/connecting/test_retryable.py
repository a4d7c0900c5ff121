"""Whether another attempt may succeed, judged by texts that were seen (PostgreSQL 15.18 and 18.6, and their libpq)."""

from __future__ import annotations

import socket

import pytest

from pgnotify.connecting.retryable import is_permanent, sqlstate_of
from pgnotify.errors import ConnectionLost, NotPrimary, SourceError, Unanswered, UnknownBackend

AT = 'connection to server at "127.0.0.1", port 5432 failed: '
AT_OTHER = 'connection to server at "db2" (10.0.0.2), port 5432 failed: '
NO_PASSWORD_FITS = 'FATAL:  password authentication failed for user "u"'
REFUSED = "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?"


class OfTheDriver(Exception):
    """An error of a driver."""


class WithSqlstate(OfTheDriver):
    def __init__(self, sqlstate):
        super().__init__("no text that says anything")
        self.sqlstate = sqlstate


class WithPgcode(OfTheDriver):
    def __init__(self, pgcode):
        super().__init__("no text that says anything")
        self.pgcode = pgcode


class WithOrig(Exception):
    def __init__(self, orig):
        super().__init__(f"(driver.Error) {orig}\n(Background on this error at: https://example.org/e)")
        self.orig = orig


def with_fields(sqlstate):
    return OfTheDriver({"S": "FATALE", "V": "FATAL", "C": sqlstate, "M": "autenticazione"})


def wrapping(cause, outer=OfTheDriver):
    error = outer("something went wrong")
    error.__cause__ = cause
    return error


# The SQLSTATE.


@pytest.mark.parametrize("made_of", [WithSqlstate, WithPgcode, with_fields])
def test_the_sqlstate_is_found_wherever_a_driver_puts_it(made_of):
    assert sqlstate_of(made_of("28P01")) == "28P01"


@pytest.mark.parametrize("wrap", [WithOrig, wrapping, lambda error: wrapping(WithOrig(error))])
def test_the_sqlstate_is_found_in_a_wrapped_error(wrap):
    assert sqlstate_of(wrap(WithSqlstate("3D000"))) == "3D000"


@pytest.mark.parametrize(
    "error",
    [
        OfTheDriver("a text"),
        OfTheDriver(),
        OfTheDriver({"M": "no code"}),
        WithSqlstate(None),
        WithPgcode(None),
        WithSqlstate(28000),
        WithOrig("a text"),
    ],
)
def test_an_error_without_a_sqlstate_has_none(error):
    assert sqlstate_of(error) is None


def test_errors_that_wrap_each_other_in_a_circle_are_visited_once():
    one, other = OfTheDriver("one"), OfTheDriver("other")
    one.__cause__, other.__cause__ = other, one

    assert sqlstate_of(one) is None
    assert not is_permanent(one, at_start=True)


@pytest.mark.parametrize("made_of", [WithSqlstate, WithPgcode, with_fields])
@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize(
    ("sqlstate", "permanent"),
    [
        ("28P01", True),
        ("28000", True),
        ("3D000", True),
        ("42501", True),
        ("42704", True),
        ("22023", True),
        ("55P02", True),
        ("0A000", True),
        ("42601", True),
        ("42602", True),
        ("42883", True),
        ("53300", False),
        ("57P01", False),
        ("57P03", False),
        ("25006", False),
        ("55000", False),
        ("58P01", False),
        ("08P01", False),
        ("08006", False),
        ("XX000", False),
    ],
)
def test_the_sqlstate_decides(made_of, at_start, sqlstate, permanent):
    assert is_permanent(made_of(sqlstate), at_start) is permanent


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize(
    ("message", "permanent"),
    [
        ("unsupported startup parameter: options", True),
        ("unsupported startup parameter in options: search_path", True),
        ("no such database: d", True),
        ('database "d" does not exist', True),
        ("SASL authentication failed", True),
        ("not allowed", True),
        ("no more connections allowed (max_client_conn)", False),
        ("client_login_timeout (server down)", False),
        ("server login has been failing, cached error: connect failed (server_login_retry)", False),
    ],
)
def test_the_sqlstate_that_a_pooler_gives_to_everything_decides_nothing(message, permanent, at_start):
    with_text = WithSqlstate("08P01")
    with_text.args = (f"FATAL:  {message}",)

    assert is_permanent(OfTheDriver({"S": "FATAL", "C": "08P01", "M": message}), at_start) is permanent
    assert is_permanent(with_text, at_start) is permanent


# The texts of libpq.

PERMANENT = [
    NO_PASSWORD_FITS,
    f'{NO_PASSWORD_FITS}\npassword retrieved from file "/home/u/.pgpass"',
    'FATAL:  Ident authentication failed for user "u"',
    'FATAL:  database "no such" does not exist',
    'FATAL:  role "u" does not exist',
    'FATAL:  role "u" is not permitted to log in',
    'FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "u", database "d", no encryption',
    'FATAL:  pg_hba.conf rejects connection for host "127.0.0.1", user "u", database "d", no encryption',
    'FATAL:  permission denied for database "d"\nDETAIL:  User does not have CONNECT privilege.',
    'FATAL:  permission denied to set parameter "log_min_messages"',
    'FATAL:  unrecognized configuration parameter "nosuch"',
    'FATAL:  invalid value for parameter "client_encoding": "nonsense"',
    'FATAL:  parameter "shared_buffers" cannot be changed without restarting the server',
    "FATAL:  connection requires a valid client certificate",
    "FATAL:  client certificates can only be checked if a root certificate store is available",
    "FATAL:  unsupported frontend protocol 1234.5679: server supports 3.0 to 3.0",
    "FATAL:  no such database: d",
    "FATAL:  unsupported startup parameter: options",
    "FATAL:  not allowed",
    "FATAL:  conversion between EUC_TW and UTF8 is not supported",
    'FATAL:  invalid command-line argument for server process: -X\nHINT:  Try "postgres --help".',
    "FATAL:  --nosuch requires a value",
    "FATAL:  -c nosuch requires a value",
    'FATAL:  invalid configuration parameter name "a..b"',
    'FATAL:  1 kB is outside the valid range for parameter "work_mem" (64 kB .. 2147483647 kB)',
    'FATAL:  parameter "geqo" requires a Boolean value',
    "fe_sendauth: no password supplied",
    "server does not support SSL, but SSL was required",
    "SSL error: certificate verify failed",
    'server certificate for "otherhost" does not match host name "127.0.0.1"',
    'root certificate file "/nonexistent" does not exist\nEither provide the file, use the system\'s trusted roots '
    "with sslrootcert=system, or change sslmode to disable server certificate verification.",
    'authentication method requirement "md5" failed: server did not complete authentication',
    "channel binding required, but SSL not in use",
]
TRANSIENT = [
    REFUSED,
    "timeout expired",
    "Network is unreachable",
    "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n"
    "\tbefore or while processing the request.",
    "FATAL:  the database system is starting up",
    "FATAL:  the database system is shutting down",
    "FATAL:  the database system is in recovery mode",
    "FATAL:  the database system is not yet accepting connections\n"
    "DETAIL:  Consistent recovery state has not been yet reached.",
    "FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.",
    "FATAL:  sorry, too many clients already",
    "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
    'FATAL:  remaining connection slots are reserved for roles with privileges of the "pg_use_reserved_connections" '
    "role",
    'FATAL:  too many connections for role "u"',
    'FATAL:  too many connections for database "d"',
    'FATAL:  database "d" is not currently accepting connections',
    'FATAL:  number of requested standby connections exceeds "max_wal_senders" (currently 0)',
    "FATAL:  no more connections allowed (max_client_conn)",
    "FATAL:  terminating connection due to administrator command",
    'FATAL:  could not access file "nosuch": No such file or directory',
    "FATAL:  server login has been failing, try again later (server_login_retry)",
    'FATAL:  could not open file "global/pg_filenode.map": Too many open files in system',
    "session is read-only",
    "session is not read-only",
    "server is in hot standby mode",
    "server is not in hot standby mode",
]


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("prefix", [AT, f"connection failed: {AT}", ""], ids=["libpq", "psycopg", "libpq13"])
@pytest.mark.parametrize("reason", PERMANENT)
def test_a_reason_that_somebody_has_to_fix_is_permanent(reason, prefix, at_start):
    assert is_permanent(OfTheDriver(f"{prefix}{reason}\n"), at_start)


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("prefix", [AT, f"connection failed: {AT}", ""], ids=["libpq", "psycopg", "libpq13"])
@pytest.mark.parametrize("reason", TRANSIENT)
def test_a_transient_reason_is_not_permanent(reason, prefix, at_start):
    assert not is_permanent(OfTheDriver(f"{prefix}{reason}\n"), at_start)


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        'invalid port number: "70000"\n',
        'invalid integer value "x" for connection option "port"\n',
        'connection is bad: invalid sslmode value: "x"',
        'invalid connection option "nonsense"\n',
        'missing "=" after "nonsense" in connection info string\n',
        'definition of service "nosuch" not found\n',
        'syntax error in service file "/etc/pg_service.conf", line 2\n',
        'nested "service" specifications not supported in service file "/etc/pg_service.conf", line 2\n',
        'service file "/nonexistent" not found\n',
        'connection is bad: invalid "ssl_min_protocol_version" value: "nonsense"',
        "invalid SSL protocol version range\n",
        'weak sslmode "prefer" may not be used with sslnegotiation=direct (use "require")\n',
        'certificate present, but not private key file "/k"\n',
        f'{AT}requirepeer specifies "nobody", but actual peer user name is "postgres"\n',
        'Unix-domain socket path "/x" is too long (maximum 107 bytes)\n',
        "cannot connect to /x: AF_UNIX path too long",
        "bad value for connect_timeout: 'x'",
        "codec not available in Python: 'EUC_TW'",
        "no Python encoding for PostgreSQL encoding 'EUCTW'\n",
        "Server refuses SSL",
        "the server wants a password, and none was given",
        "server requesting MD5 password authentication, but no password was provided",
    ],
)
def test_an_attempt_that_cannot_even_be_made_is_permanent(text, at_start):
    assert is_permanent(OfTheDriver(text), at_start)


@pytest.mark.parametrize("text", ["", "network error", "connection timeout expired", "the connection is closed"])
def test_a_text_that_says_nothing_is_no_reason_to_give_up(text):
    assert not is_permanent(OfTheDriver(text), at_start=True)


UNKNOWN_HOST = [
    OfTheDriver('could not translate host name "nosuch" to address: Name or service not known\n'),
    OfTheDriver("failed to resolve host 'nosuch': [Errno -2] Name or service not known"),
    wrapping(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
]
RESOLVER_AWAY = [
    OfTheDriver('could not translate host name "h" to address: Temporary failure in name resolution\n'),
    OfTheDriver("failed to resolve host 'h': [Errno -3] Temporary failure in name resolution"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
]


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("error", UNKNOWN_HOST, ids=repr)
def test_an_unknown_host_is_permanent_at_the_start_only(error, at_start):
    assert is_permanent(error, at_start) is at_start


@pytest.mark.parametrize("error", RESOLVER_AWAY, ids=repr)
def test_a_resolver_that_cannot_be_reached_is_transient(error):
    assert not is_permanent(error, at_start=True)


# Several attempts in one text.


@pytest.mark.parametrize(
    ("first", "second", "permanent"),
    [
        (NO_PASSWORD_FITS, NO_PASSWORD_FITS, True),
        (NO_PASSWORD_FITS, REFUSED, False),
        (REFUSED, NO_PASSWORD_FITS, False),
        ("FATAL:  the database system is starting up", NO_PASSWORD_FITS, False),
        ('FATAL:  permission denied for database "d"\nDETAIL:  Why.', NO_PASSWORD_FITS, True),
        ("session is read-only", NO_PASSWORD_FITS, False),
        (NO_PASSWORD_FITS, 'FATAL:  no pg_hba.conf entry for host "::1", user "u", no encryption', True),
    ],
)
def test_a_host_that_may_come_back_is_reason_enough_to_try_again(first, second, permanent):
    libpq = OfTheDriver(f"{AT}{first}\n{AT_OTHER}{second}\n")
    one_by_one = OfTheDriver(
        f"connection failed: {AT_OTHER}{second}\nMultiple connection attempts failed. All failures were:\n"
        f"- host: 'db1', port: '5432', hostaddr: '127.0.0.1': connection failed: {AT}{first}\n"
        f"- host: 'db2', port: '5432', hostaddr: '10.0.0.2': connection failed: {AT_OTHER}{second}"
    )

    assert is_permanent(libpq, at_start=False) is permanent
    assert is_permanent(one_by_one, at_start=False) is permanent


def test_an_older_libpq_names_no_host_before_the_answer():
    refused = 'could not connect to server: Connection refused\n\tIs the server running on host "db1"'

    assert not is_permanent(OfTheDriver(f"{refused}\n{NO_PASSWORD_FITS}\n"), at_start=True)
    assert not is_permanent(
        OfTheDriver(f"{NO_PASSWORD_FITS}\nFATAL:  sorry, too many clients already\n"), at_start=True
    )


@pytest.mark.parametrize(
    ("failures", "permanent"),
    [
        (
            "cannot connect to a port 1: [Errno -2] Name or service not known; cannot connect to b port 1: refused",
            False,
        ),
        ("cannot connect to a port 1: [Errno -2] Name or service not known; Server refuses SSL", True),
        ("network error; [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get", False),
    ],
)
def test_a_list_of_failures_is_judged_as_a_whole_and_not_by_the_last(failures, permanent):
    error = OfTheDriver(f"no host could be used: {failures}")
    error.__cause__ = ValueError("of the last")

    assert is_permanent(error, at_start=True) is permanent


# Other languages.

CHINESE = '连接到"127.0.0.1"上的服务器\N{FULLWIDTH COMMA}端口5432失败\N{FULLWIDTH COLON}'
FOREIGN_REFUSALS = [
    f"{AT}FATAL:  Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen",
    "Verbindung zum Server auf »127.0.0.1«, Port 5432 fehlgeschlagen: FATAL:  Datenbank »d« existiert nicht",
    f"{AT}FATAL:  Passwort-Authentifizierung f?r Benutzer >>u<< fehlgeschlagen",
    'подключиться к серверу "127.0.0.1", порту 5432 не удалось: ВАЖНО:  роль "u" не существует',
    f"{AT}FATAL:  authentification par mot de passe échouée pour l'utilisateur  « u »",
    f'{CHINESE}致命错误:  用户 "u" Password 认证失败',
    f'{AT}????:  ?? "u" Password ????',
    f'{AT}FATALE:  accesso negato per il database "d"\nDETTAGLI:  L\'utente non ha il privilegio CONNECT.',
]
FOREIGN_STATES = [
    f"{AT}FATAL:  das Datenbanksystem startet",
    'подключиться к серверу "127.0.0.1", порту 5432 не удалось: ВАЖНО:  система баз данных запускается',
    f"{AT}FATAL:  désolé, trop de clients sont déjà connectés",
    f"{CHINESE}致命错误:  数据库系统启动中",
    f"{AT}FATALE:  il database si sta avviando",
    "Verbindung zum Server auf »127.0.0.1«, Port 5432 fehlgeschlagen: Verbindungsaufbau abgelehnt\n\tLäuft er?",
]


@pytest.mark.parametrize("text", FOREIGN_REFUSALS)
def test_an_answer_in_another_language_that_names_something_is_permanent_at_the_start(text):
    assert is_permanent(OfTheDriver(f"{text}\n"), at_start=True)
    assert not is_permanent(OfTheDriver(f"{text}\n"), at_start=False)


@pytest.mark.parametrize("text", FOREIGN_STATES)
def test_an_answer_in_another_language_that_names_nothing_is_transient(text):
    assert not is_permanent(OfTheDriver(f"{text}\n"), at_start=True)


# Errors of Python.


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("the connection keyword 'nonsense' is unknown"),
        TypeError("connect() got an unexpected keyword argument"),
        UnknownBackend("no backend fits"),
        SourceError("the same connection once more"),
        ModuleNotFoundError("No module named 'driver'"),
        AttributeError("of a mistake in the user's function"),
        LookupError("unknown encoding: EUC_TW"),
    ],
    ids=repr,
)
def test_a_mistake_of_the_user_is_permanent(error, at_start):
    assert is_permanent(error, at_start)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        FileNotFoundError(2, "No such file or directory"),  # a Unix socket
        TimeoutError("timed out"),
        wrapping(ConnectionResetError(104, "Connection reset by peer")),
        Unanswered("no answer within 5 s"),
        NotPrimary("it is a standby"),
        wrapping(WithSqlstate("42501"), ConnectionLost),
    ],
    ids=repr,
)
def test_a_network_that_fails_is_transient(error):
    assert not is_permanent(error, at_start=True)


@pytest.mark.parametrize("wrap", [WithOrig, wrapping])
def test_a_wrapped_error_counts(wrap):
    assert is_permanent(wrap(OfTheDriver(f"{AT}{NO_PASSWORD_FITS}\n")), at_start=False)
    assert not is_permanent(wrap(OfTheDriver(f"{AT}{REFUSED}\n")), at_start=True)


def test_an_error_of_a_host_that_was_tried_before_does_not_count():
    refused = OfTheDriver(f"{AT}{REFUSED}")
    refused.__context__ = OfTheDriver(f"{AT_OTHER}{NO_PASSWORD_FITS}")

    assert not is_permanent(refused, at_start=True)
