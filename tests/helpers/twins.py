"""Twins of everything in pg_catalog, made by an ordinary role, which record that they were called.

Apart from that a twin does the work of its original, so nobody notices. It runs as the role that calls it. If that is a
superuser, its owner can become one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address

PATHS = {"public": '"$user", public', "app": "app, pg_catalog"}
"""Where the twins are, and the search_path that leads there; the first is the default."""

_DATABASE = f"twins_{os.getpid()}"
_ROLE = f"twin_{os.getpid()}"

# Up to PostgreSQL 14 every role may create in public.
_PREPARE = f"""
CREATE SCHEMA app AUTHORIZATION {_ROLE};
GRANT CREATE ON SCHEMA public TO {_ROLE};
SET SESSION AUTHORIZATION {_ROLE};
CREATE TABLE app.called (name pg_catalog.text);
CREATE SEQUENCE app.calls;
CREATE FUNCTION app.call(name pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_catalog.nextval('app.calls');  -- remains when the transaction is rolled back
    INSERT INTO app.called VALUES ($1);
    RETURN true;
END $$;
"""

# In a schema before pg_catalog a twin has the very arguments of the original. Every function, operator, type and
# relation gets one, unless it has an argument that PL/pgSQL cannot take, such as "any": count() has none.
_IN_APP = r"""
DO $twins$
DECLARE
    wrong CONSTANT pg_catalog.text[] := '{any,cstring,internal,record,trigger,event_trigger,language_handler,
        fdw_handler,index_am_handler,tsm_handler,table_am_handler,pg_ddl_command}';
    it record;
    arguments pg_catalog.text;
    call pg_catalog.text;
BEGIN
    FOR it IN
        SELECT p.proname, p.proretset, pg_catalog.format_type(p.prorettype, NULL) AS result,
            ARRAY(SELECT pg_catalog.format_type(t, NULL) FROM pg_catalog.unnest(p.proargtypes) AS t) AS types
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.prokind = 'f' AND p.provariadic = 0
    LOOP
        CONTINUE WHEN wrong && (it.types || it.result) OR wrong && ARRAY['"' || it.result || '"'];
        arguments := pg_catalog.array_to_string(it.types, ', ');
        call := pg_catalog.format('pg_catalog.%I(%s)', it.proname, (
            SELECT pg_catalog.string_agg('$' || n, ', ') FROM pg_catalog.generate_subscripts(it.types, 1) AS n));
        BEGIN
            EXECUTE pg_catalog.format(
                'CREATE FUNCTION app.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                it.proname, arguments, CASE WHEN it.proretset THEN 'SETOF ' ELSE '' END || it.result,
                pg_catalog.format('BEGIN PERFORM app.call(%L); %s; END', 'function ' || it.proname, CASE
                    WHEN it.proretset THEN 'RETURN QUERY SELECT * FROM ' || call
                    WHEN it.result = 'void' THEN 'PERFORM ' || call
                    ELSE 'RETURN ' || call END));
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR it IN
        SELECT o.oid, o.oprname, pg_catalog.format_type(o.oprresult, NULL) AS result,
            pg_catalog.format_type(NULLIF(o.oprleft, 0), NULL) AS left_type,
            pg_catalog.format_type(o.oprright, NULL) AS right_type
        FROM pg_catalog.pg_operator AS o WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace
    LOOP
        arguments := pg_catalog.concat_ws(', ', it.left_type, it.right_type);
        call := CASE WHEN it.left_type IS NULL THEN '' ELSE '$1 ' END || 'OPERATOR(pg_catalog.' || it.oprname
            || CASE WHEN it.left_type IS NULL THEN ') $1' ELSE ') $2' END;
        BEGIN
            EXECUTE pg_catalog.format(
                'CREATE FUNCTION app.operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                it.oid, arguments, it.result,
                pg_catalog.format('BEGIN PERFORM app.call(%L); RETURN %s; END', 'operator ' || it.oprname, call));
            EXECUTE pg_catalog.format(
                'CREATE OPERATOR app.%s (FUNCTION = app.operator_%s, %s RIGHTARG = %s)',
                it.oprname, it.oid, 'LEFTARG = ' || it.left_type || ',', it.right_type);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR it IN
        SELECT t.typname FROM pg_catalog.pg_type AS t
        WHERE t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND t.typtype = 'b' AND t.typelem = 0
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE DOMAIN app.%1$I AS pg_catalog.%1$I CHECK (app.call(%2$L))', it.typname, 'type ' || it.typname);
    END LOOP;
    FOR it IN
        SELECT c.relname FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind IN ('r', 'v')
    LOOP
        BEGIN
            EXECUTE pg_catalog.format(
                'CREATE VIEW app.%1$I AS SELECT * FROM pg_catalog.%1$I WHERE app.call(%2$L)',
                it.relname, 'relation ' || it.relname);
            EXECUTE pg_catalog.format('GRANT SELECT ON app.%I TO PUBLIC', it.relname);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $twins$;
"""

# In a schema after pg_catalog a twin must fit the arguments of our calls better than the original does. These do: the
# original takes "any", anyarray, json, bigint, two of oid, or further arguments.
_BETTER = """
CREATE FUNCTION public.json_build_array(pg_catalog.bool, pg_catalog.float8, pg_catalog.int4, pg_catalog.text[])
RETURNS pg_catalog.json LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function json_build_array'); RETURN pg_catalog.json_build_array($1, $2, $3, $4);
END $$;
CREATE FUNCTION public.json_array_elements(pg_catalog.text)
RETURNS SETOF pg_catalog.json LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function json_array_elements');
    RETURN QUERY SELECT pg_catalog.json_array_elements($1::pg_catalog.json);
END $$;
CREATE FUNCTION public.unnest(pg_catalog.text[])
RETURNS SETOF pg_catalog.text LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function unnest'); RETURN QUERY SELECT pg_catalog.unnest($1);
END $$;
CREATE FUNCTION public.pg_terminate_backend(pg_catalog.int4)
RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function pg_terminate_backend'); RETURN pg_catalog.pg_terminate_backend($1);
END $$;
CREATE FUNCTION public.pg_advisory_lock(pg_catalog.int4)
RETURNS pg_catalog.void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function pg_advisory_lock'); PERFORM pg_catalog.pg_advisory_lock($1);
END $$;
CREATE FUNCTION public.pg_advisory_xact_lock(pg_catalog.int4)
RETURNS pg_catalog.void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function pg_advisory_xact_lock'); PERFORM pg_catalog.pg_advisory_xact_lock($1);
END $$;
CREATE FUNCTION public.pg_advisory_unlock(pg_catalog.int4)
RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('function pg_advisory_unlock'); RETURN pg_catalog.pg_advisory_unlock($1);
END $$;
CREATE FUNCTION public.same(pg_catalog.oid, pg_catalog.int4)
RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$ BEGIN
    PERFORM app.call('operator ='); RETURN $1 OPERATOR(pg_catalog.=) $2;
END $$;
CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = pg_catalog.oid, RIGHTARG = pg_catalog.int4);
"""
_BETTER_IN_APP = _BETTER.replace("public.", "app.").replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


class Twins:
    """A database with twins in it."""

    def __init__(self, address: Address, session: Session) -> None:
        self.address = address
        """Its address, for a superuser."""
        self._session = session

    def lead_to(self, schema: str) -> None:
        """Set the search_path of new sessions to the one in `PATHS`, and forget earlier calls."""
        self._session.sql(f"ALTER DATABASE {_DATABASE} SET search_path = {PATHS[schema]}")
        self.called()

    def called(self) -> set[str]:
        """Return the names of the twins that were called since this was asked last, each with its kind."""
        count = int(self._session.sql("SELECT pg_catalog.count(*) FROM app.calls WHERE is_called")[0][0] or 0)
        names = {str(name) for (name,) in self._session.sql("DELETE FROM app.called RETURNING name")}
        self._session.sql("ALTER SEQUENCE app.calls RESTART")
        return names or ({"in a transaction that was rolled back"} if count else set())


@contextmanager
def twins(address: Address) -> Iterator[Twins]:
    """Make a database with twins, and remove it afterwards."""
    with Session(*address) as session:
        _remove(session)
        session.sql(f"CREATE ROLE {_ROLE}")
        session.sql(f"CREATE DATABASE {_DATABASE}")
        there = address._replace(database=_DATABASE)
        with Session(*there) as inside:
            for statements in (_PREPARE, _IN_APP, _BETTER, _BETTER_IN_APP):
                inside.sql(statements)
            inside.sql("RESET SESSION AUTHORIZATION")
            yield Twins(there, inside)
        _remove(session)


def _remove(session: Session) -> None:
    session.sql(f"DROP DATABASE IF EXISTS {_DATABASE} (FORCE)")
    session.sql(f"DROP ROLE IF EXISTS {_ROLE}")
