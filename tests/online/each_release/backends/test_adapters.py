"""What users register with their drivers, for their own types and statements, changes nothing in ours.

An adapter here makes of a text something that it is not, as far as its driver lets it: each of these has a good use in
somebody's program, such as stripping strings, or strings of a class of their own.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

import pgnotify
from tests.helpers.backends import collect
from tests.helpers.notifications import payloads

PSYCOPG = ("psycopg", "sqlalchemy-psycopg", "sqlalchemy-raw", "django")
PSYCOPG2 = ("psycopg2", "sqlalchemy-psycopg2")
PG8000 = ("pg8000", "sqlalchemy-pg8000")


QUERY = """\
SELECT $1::pg_catalog.text, $2::pg_catalog.text::pg_catalog.int4::pg_catalog.text, $3::pg_catalog.text,
    true::pg_catalog.text, '{}'::pg_catalog.json::pg_catalog.text"""


def broken(*arguments, **keywords):
    raise AssertionError("an adapter of the user's was called")


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def driver_connection(db):
    """The driver's connection, on which users register their adapters."""
    return pgnotify.wrap(db).backend.connection


def assert_unharmed(db, session, channel):
    """Use a connection for everything."""
    backend = pgnotify.wrap(db).backend
    backend.listen_many([channel, "other"])
    backend.notify(channel, "it's %s $1")
    backend.notify_many([(channel, "1"), ("other", "2"), (channel, "ü")])
    assert backend.check().channels == {channel, "other"}
    for prepare in (False, True):
        rows = backend.query(QUERY, ("it's %s $1", "7", None), prepare=prepare)
        assert rows == [("it's %s $1", "7", None, "true", "{}")]
    session.notify(channel, "last")
    assert payloads(collect(backend, 5)) == ["it's %s $1", "1", "2", "ü", "last"]
    backend.unlisten("other")
    assert backend.check().channels == {channel}


# psycopg


def dump_as_text(adapters):
    from psycopg.types.string import StrDumper

    adapters.register_dumper(str, StrDumper)


def dump_as_varchar(adapters):
    from psycopg.types import string

    adapters.register_dumper(str, getattr(string, "StrDumperVarchar", string.StrDumper))  # since 3.1.5


def dump_in_binary(adapters):
    from psycopg.types.string import StrBinaryDumper

    adapters.register_dumper(str, StrBinaryDumper)


def dump_as_nothing(adapters):
    from psycopg.adapt import Dumper

    class Broken(Dumper):
        quote = dump = broken

    adapters.register_dumper(str, Broken)
    adapters.register_dumper(object, Broken)


def load_nothing(adapters):
    from psycopg.adapt import Loader

    class Broken(Loader):
        load = broken

    for name in ("text", "bool", "int4", "int8", "float8", "json", "jsonb", "text[]", 705, 2278):  # unknown, void
        adapters.register_loader(name, Broken)


@pytest.mark.drivers(*PSYCOPG)
@pytest.mark.parametrize(
    "register",
    [dump_as_text, dump_as_varchar, dump_in_binary, dump_as_nothing, load_nothing],
    ids=lambda each: each.__name__,
)
def test_adapters_of_a_psycopg_connection(register, db, driver_connection, session, channel):
    register(driver_connection.adapters)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers("psycopg")
def test_adapters_of_all_psycopg_connections(connect, session, channel, monkeypatch):
    import psycopg

    everywhere = psycopg.adapt.AdaptersMap(psycopg.adapters)
    dump_as_nothing(everywhere)
    load_nothing(everywhere)
    monkeypatch.setattr(psycopg.postgres, "adapters", everywhere)

    assert_unharmed(connect(), session, channel)


def factories():
    import psycopg
    from psycopg import rows

    yield "dict_row", {"row_factory": rows.dict_row}
    yield "namedtuple_row", {"row_factory": rows.namedtuple_row}
    yield "class_row", {"row_factory": rows.class_row(broken)}
    yield "ClientCursor", {"cursor_factory": psycopg.ClientCursor}
    yield "RawCursor", {"cursor_factory": getattr(psycopg, "RawCursor", psycopg.ClientCursor)}  # since 3.2
    yield "any", {"cursor_factory": broken, "server_cursor_factory": broken, "row_factory": broken}


@pytest.mark.drivers("psycopg")
@pytest.mark.parametrize("name", ["dict_row", "namedtuple_row", "class_row", "ClientCursor", "RawCursor", "any"])
def test_factories_of_a_psycopg_connection(name, db, session, channel):
    for attribute, factory in dict(factories())[name].items():
        setattr(db, attribute, factory)

    assert_unharmed(db, session, channel)


# psycopg2


@pytest.fixture
def registered(driver_connection):
    """Put the adapters of psycopg2 back at the end; it has one registry for all connections."""
    from psycopg2 import extensions

    before = dict(extensions.adapters)
    types = dict(extensions.string_types)
    yield extensions
    extensions.adapters.clear()
    extensions.adapters.update(before)
    extensions.string_types.clear()
    extensions.string_types.update(types)


OIDS = (16, 20, 23, 25, 114, 701, 705, 1009, 1043, 2278, 3802)  # of bool, int8, int4, text, json, float8, unknown, …


@pytest.mark.drivers(*PSYCOPG2)
@pytest.mark.parametrize("where", ["connection", "everywhere"])
def test_typecasters_of_psycopg2(where, registered, db, driver_connection, session, channel):
    caster = registered.new_type(OIDS, "BROKEN", broken)
    registered.register_type(caster, driver_connection if where == "connection" else None)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers(*PSYCOPG2)
@pytest.mark.parametrize("cls", [str, object])
def test_adapters_of_psycopg2(cls, registered, db, session, channel):
    registered.register_adapter(cls, broken)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers("psycopg2")
@pytest.mark.parametrize("name", ["RealDictCursor", "NamedTupleCursor", "DictCursor", "LoggingCursor"])
def test_a_cursor_factory_of_psycopg2(name, db, session, channel):
    from psycopg2 import extras

    db.cursor_factory = getattr(extras, name)

    assert_unharmed(db, session, channel)


# pg8000


@pytest.mark.drivers(*PG8000)
def test_adapters_of_a_pg8000_connection(db, driver_connection, session, channel):
    for oid in OIDS:
        driver_connection.register_in_adapter(oid, broken)
    for cls in (str, object):
        driver_connection.register_out_adapter(cls, broken)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers("pg8000.dbapi")
@pytest.mark.parametrize("style", ["qmark", "numeric", "named", "pyformat"])
def test_a_paramstyle_of_pg8000(style, db, session, channel, monkeypatch):
    import pg8000.dbapi

    monkeypatch.setattr(pg8000.dbapi, "paramstyle", style)

    assert_unharmed(db, session, channel)


# PyGreSQL


@pytest.mark.drivers("pg.DB")
def test_typecasts_of_a_pygresql_db(db, session, channel):
    for name in ("text", "bool", "int4", "int8", "float8", "json", "text[]", "void", "unknown"):
        db.dbtypes.set_typecast(name, broken)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers("pg", "pg.DB")
def test_the_cast_hook_of_a_pygresql_connection(driver_connection, db, session, channel):
    driver_connection.set_cast_hook(broken)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers("pygresql")
@pytest.mark.parametrize("name", ["decimal", "jsondecode", "bool", "array", "bytea_escaped", "decimal_point"])
def test_settings_of_pygresql(name, db, session, channel, stack):
    import pg

    before = getattr(pg, f"get_{name}")()
    stack.callback(getattr(pg, f"set_{name}"), before)
    new = {"decimal": broken, "jsondecode": broken, "decimal_point": ","}.get(name, not before)
    getattr(pg, f"set_{name}")(new)

    assert_unharmed(db, session, channel)


@pytest.mark.drivers("pgdb")
def test_typecasts_of_a_pgdb_connection(db, session, channel):
    for name in ("text", "bool", "int4", "int8", "float8", "json", "void"):
        db.type_cache.set_typecast(name, broken)
    db.cursor_type = broken

    assert_unharmed(db, session, channel)
