"""Whether another attempt may succeed after an error of connecting, or somebody has to change something first.

If the server's answer reaches us with its SQLSTATE, the SQLSTATE decides. libpq does not report it for an attempt to
connect, so its drivers have a text only. The text has a line for each attempt at each host. In such a line the
server's answer is a severity, a colon, two spaces and a message (seen with libpq 15.18, 17.11 and 18.6). The message
is in the server's language, and the severity may be.

When in doubt, treat an error as transient: a listener that retries in vain says so in its log, but one that gives up
during a fail-over never hears anything again.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from pgnotify.errors import ConnectionLost, OutboxError, SourceError

_PERMANENT_SQLSTATES = re.compile(
    "28..."  # invalid_authorization_specification: password, role, pg_hba.conf
    "|3D000"  # invalid_catalog_name: there is no such database
    "|42501"  # insufficient_privilege: no CONNECT on the database, or a parameter that is the superuser's
    "|42601"  # syntax_error: of `options`; or a server that is not quite PostgreSQL has no LISTEN
    "|42602"  # invalid_name: of a parameter in `options`
    "|42704"  # undefined_object: a parameter in `options` that the server does not know
    "|42883"  # undefined_function: a server that is not quite PostgreSQL, or too old
    "|22023"  # invalid_parameter_value: of one of these, or of client_encoding
    "|55P02"  # cant_change_runtime_param: one of these that belongs to the server's start
    "|22P05|22021"  # untranslatable_character, character_not_in_repertoire: a name that the encoding has no letters for
    "|0A000"  # feature_not_supported: the protocol's version; or a server that is not quite PostgreSQL has no LISTEN
)
# All others are transient: 53300 too_many_connections, 57P03 cannot_connect_now, 57P01 admin_shutdown, 25006 (a
# standby's answer to LISTEN), and 55000 (the answer of a database that an administrator has closed for a while).

# PgBouncer sends this with almost every refusal, so the message decides.
_PROTOCOL_VIOLATION = "08P01"

# Waiting does not help against a wrong argument, a codec that Python does not have (a LookupError), or a mistake in the
# user's own connect function.
_MISTAKES = (ValueError, TypeError, LookupError, ImportError, NameError, AttributeError, SourceError, OutboxError)

# The server's English messages, from postinit.c, auth.c, miscinit.c, mbutils.c, guc.c, postgres.c. The last four are
# PgBouncer's.
_PERMANENT_ANSWER = re.compile(
    r"""
    .* \b authentication \s failed \b
    | database \s ".*" \s does \s not \s exist
    | role \s ".*" \s does \s not \s exist
    | role \s ".*" \s is \s not \s permitted \s to
    | no \s pg_hba\.conf \s entry
    | pg_hba\.conf \s rejects
    | permission \s denied
    | connection \s requires \s a \s valid \s client \s certificate
    | client \s certificates \s can \s only \s be \s checked
    | unrecognized \s configuration \s parameter
    | invalid \s value \s for \s parameter
    | parameter \s ".*" \s cannot \s be
    | unsupported \s frontend \s protocol
    | conversion \s between \s \S+ \s and \s \S+ \s is \s not \s supported
    | invalid \s command-line \s argument
    | (-c \s | --) \S+ \s requires \s a \s value
    | invalid \s configuration \s parameter \s name
    | .* \s is \s outside \s the \s valid \s range \s for \s parameter
    | parameter \s ".*" \s requires \s a
    | no \s such \s database
    | no \s such \s user
    | unsupported \s startup \s parameter
    | not \s allowed $
    """,
    re.VERBOSE,
)
# The transient answers that name something.
_PASSING_ANSWER = re.compile(
    r"""
    too \s many \s connections \s for
    | number \s of \s requested \s standby \s connections \s exceeds
    | remaining \s connection \s slots \s are \s reserved
    | database \s ".*" \s is \s not \s currently \s accepting
    | terminating \s connection
    | could \s not \s access \s file
    """,
    re.VERBOSE,
)
# The quotation marks of PostgreSQL's languages, and their replacements in an ASCII locale.
_NAMES_SOMETHING = re.compile(r"""["«»„“「『]|>>|<<""")

# The messages of libpq itself, of its drivers, and of the backend that connects without libpq.
_PERMANENT_REASON = re.compile(
    r"""
    no \s password \s (was \s)? (supplied | provided)
    | wants \s a \s password, \s and \s none \s was \s given
    | does \s not \s support \s SSL, \s but | refuses \s SSL
    | certificate \s verify \s failed
    | server \s certificate \s for \s ".*" \s does \s not \s match
    | root \s certificate \s file \s ".*" \s does \s not \s exist
    | could \s not \s (open | read | load) \s (root \s)? (certificate | private)
    | private \s key \s file \s ".*" \s (does \s not | has \s | must)
    | channel \s binding \s (is \s)? required
    | authentication \s method \s (requirement \s ".*" \s failed | \d+ \s not \s supported)
    | none \s of \s the \s server's \s SASL \s authentication \s mechanisms
    | invalid \s (port \s number | integer \s value | connection \s option | dsn | "?\w+"? \s value: | URI)
    | invalid \s SSL \s protocol \s version \s range
    | weak \s sslmode
    | certificate \s present, \s but \s not \s private \s key \s file
    | requirepeer \s specifies
    | Unix-domain \s socket \s path \s ".*" \s is \s too \s long | AF_UNIX \s path \s too \s long
    | (nested \s "?service"? \s specifications | syntax \s error) .* in \s service \s file
    | service \s file \s ".*" \s not \s found
    | bad \s value \s for \s connect_timeout
    | codec \s not \s available \s in \s Python
    | no \s Python \s encoding \s for \s PostgreSQL \s encoding
    | missing \s "=" \s after
    | definition \s of \s service \s ".*" \s not \s found
    | could \s not \s match \s \d+
    """,
    re.VERBOSE,
)
_UNKNOWN_HOST = re.compile(r"could not translate host name|failed to resolve host|Name or service not known")
# EAI_AGAIN in the words of glibc and of musl, and as Python shows its number: the resolver could not be reached.
_RESOLVER_AWAY = re.compile(rf"Temporary failure|Try again|\[Errno {socket.EAI_AGAIN}\]")

# Severity and message. A server that does not know the client's encoding yet may write the severity as "????".
_ANSWER = re.compile(r"[^\s:]+:  (\S.*)")
# A continuation of the line before: DETAIL or HINT in any language, or libpq's own advice.
_MORE = re.compile(
    r"""
    \s | $
    | (?! FATAL | PANIC | ERROR) [^\s:"]+:[ ][ ]
    | password \s retrieved \s from \s file
    | Either \s provide \s the \s file
    | Multiple \s connection \s attempts
    """,
    re.VERBOSE,
)
_NO_HOST = "no host could be used: "  # from the backend without libpq; the errors follow, separated by semicolons


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error, or of the first error below it that has one (`orig` or `__cause__`)."""
    return next(filter(None, map(_own_sqlstate, _chain(error))), None)


def message_of(error: BaseException) -> str:
    """Return the first line of the server's message in a driver's error, without its severity."""
    fields = error.args[0] if error.args else None
    text = str(fields.get("M")) if isinstance(fields, dict) else str(error)
    answer = _ANSWER.search(text)
    return (text if answer is None else answer[1]).partition("\n")[0]


def is_permanent(error: BaseException, at_start: bool) -> bool:
    """Return whether it is pointless to try again after an error of connecting.

    Args:
        error: the exception that the attempt raised. Its `__context__`, an error that was merely being handled at the
            time, does not count: it may concern another host that was tried before.
        at_start: whether there has been no connection yet. A host name that cannot be resolved is then taken for a
            mistake. So is an answer of the server that is not understood but names something in quotation marks: a
            user, a database, a parameter. Messages about the server's own state name nothing, in any of the eleven
            languages of PostgreSQL 15, with three exceptions: a connection limit, a database that accepts no
            connections, and a library that is missing.
    """
    verdicts = (_verdict(each, at_start) for each in _chain(error))
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        wrapped = getattr(error, "orig", None)
        error = wrapped if isinstance(wrapped, BaseException) else error.__cause__


def _own_sqlstate(error: BaseException) -> str | None:
    fields = error.args[0] if error.args else None
    said = fields.get("C") if isinstance(fields, dict) else None  # a driver that passes on the fields of the message
    for state in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None), said):
        if isinstance(state, str) and len(state) == 5:
            return state
    return None


def _verdict(error: BaseException, at_start: bool) -> bool | None:
    """Judge one error, apart from the errors that it wraps; return None if it does not decide."""
    text = str(error)
    if text.startswith(_NO_HOST):
        return _is_hopeless(text.removeprefix(_NO_HOST).replace("; ", "\n"), at_start)
    if isinstance(error, ConnectionLost):
        return False  # there was a connection
    if state := _own_sqlstate(error):
        if state == _PROTOCOL_VIOLATION:
            return _refuses(message_of(error), at_start)
        return _PERMANENT_SQLSTATES.fullmatch(state) is not None
    if isinstance(error, _MISTAKES):  # ssl.SSLCertVerificationError is a ValueError, too
        return True
    if isinstance(error, OSError):
        return at_start and isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
    return _is_hopeless(text, at_start) or None


def _is_hopeless(text: str, at_start: bool) -> bool:
    """Return whether a text reports at least one attempt, and none that may succeed the next time."""
    attempts = [line for line in text.splitlines() if not _MORE.match(line)]
    return bool(attempts) and all(_failed_for_good(line, at_start) for line in attempts)


def _failed_for_good(attempt: str, at_start: bool) -> bool:
    if answer := _ANSWER.search(attempt):
        return _refuses(answer[1], at_start)
    if _UNKNOWN_HOST.search(attempt):
        return at_start and not _RESOLVER_AWAY.search(attempt)
    return _PERMANENT_REASON.search(attempt) is not None


def _refuses(answer: str, at_start: bool) -> bool:
    if _PASSING_ANSWER.match(answer):
        return False
    if _PERMANENT_ANSWER.match(answer):
        return True
    # An answer that names a path is about trouble with the server's disk, which may pass.
    return at_start and _NAMES_SOMETHING.search(answer) is not None and "/" not in answer
