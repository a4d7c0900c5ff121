"""query(), if the backend offers it: texts in and out, unchanged, and in the right transaction."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pgnotify.errors import ConnectionLost, PgNotifyError
from pgnotify.protocol import Backend, Queries, Releases
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.encodings import Encodings
from pgnotify.testing.nasty import GOOD_PAYLOADS

_MEGABYTE = 10**6  # bytes

_ECHO = "SELECT $1::pg_catalog.text"
_SEND = "SELECT pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)::pg_catalog.text"
_FAILING = "SELECT (1 OPERATOR(pg_catalog./) $1::pg_catalog.text::pg_catalog.int4)::pg_catalog.text"

# What is no parameter and no placeholder, and what it is to the server.
_LITERALS: tuple[tuple[str, str], ...] = (
    ("'$1 it''s'", "$1 it's"),
    ("'%s %(name)s % %%'", "%s %(name)s % %%"),
    ("':x :1 ? ??'", ":x :1 ? ??"),
    (r"'back\\slash\'", r"back\\slash" + "\\"),
    (r"E'\'$1\\ %'", "'$1\\ %"),
    ("$$'$1' %s$$", "'$1' %s"),
    ("$a$ $$ $1 $b$ $a$", " $$ $1 $b$ "),
    ("'日本 😀'", "日本 😀"),
    ("('a' /* it's $1 /* %s */ $2 */)", "a"),
    ("'b' -- it's $1, %s, :x, ?\n", "b"),
)


class Querying(Encodings):
    """The promises of query()."""

    promised_in = "Queries"

    @cached_property
    def querying(self) -> Queries:
        """The backend, if it offers query()."""
        return _querying(self.backend)

    @property
    def database_error(self) -> type[Exception]:
        """The class of the server's errors, if the backend names it."""
        error: type[Exception] = getattr(self.backend, "DatabaseError", Exception)
        return error

    @cached_property
    def receiver(self) -> Backend:
        """Another connection of the driver, which listens to the channel."""
        receiver = self.backend_of(self.open())
        receiver.listen(self.channel)
        return receiver

    # Texts.

    def test_a_query_returns_rows_of_texts(self) -> None:
        rows = self.querying.query(
            "SELECT number::pg_catalog.text, (number OPERATOR(pg_catalog.>) 1)::pg_catalog.text, NULL::pg_catalog.text "
            "FROM pg_catalog.generate_series(1, $1::pg_catalog.text::pg_catalog.int4) AS number ORDER BY number",
            ("3",),
        )

        same(rows, [("1", "false", None), ("2", "true", None), ("3", "true", None)])
        same({type(rows), *map(type, rows)}, {list, tuple}, "the types of the answer and of its rows")

    def test_every_character_goes_in_and_comes_out(self) -> None:
        sql = "SELECT " + ", ".join(f"${number + 1}::pg_catalog.text" for number in range(len(GOOD_PAYLOADS)))
        for prepare in (False, True):
            same(
                self.querying.query(sql, GOOD_PAYLOADS, prepare=prepare),
                [tuple(GOOD_PAYLOADS)],
                f"with prepare={prepare}",
            )

    def test_null_goes_in_and_comes_out(self) -> None:
        sql = (
            "SELECT $1::pg_catalog.text, ($1::pg_catalog.text IS NULL)::pg_catalog.text, "
            "$2::pg_catalog.text, $3::pg_catalog.text"
        )
        for prepare in (False, True):
            same(self.querying.query(sql, (None, "", "NULL"), prepare=prepare), [(None, "true", "", "NULL")])

    def test_a_parameter_may_stand_anywhere_and_more_than_once(self) -> None:
        texts = [str(number) for number in range(1, 12)]
        sql = "SELECT " + ", ".join(f"${number}::pg_catalog.text" for number in (11, 1, 2, 1, *range(1, 12)))

        same(self.querying.query(sql, texts), [("11", "1", "2", "1", *texts)])

    def test_nothing_in_a_literal_a_name_or_a_comment_is_a_parameter(self) -> None:
        literals = ", ".join(f"{literal}::pg_catalog.text" for literal, _ in _LITERALS)
        expected = tuple(text for _, text in _LITERALS)

        for prepare in (False, True):
            same(self.querying.query(f"SELECT {literals}", prepare=prepare), [expected])
            same(
                self.querying.query(
                    f'SELECT {literals}, "$1 % %s :x ?" FROM (SELECT $1::pg_catalog.text AS "$1 % %s :x ?") AS a$1',
                    ("x",),
                    prepare=prepare,
                ),
                [(*expected, "x")],
            )

    def test_a_parameter_cannot_become_a_part_of_the_statement(self) -> None:
        self.receiver.listen("injected")
        injections = ("'; NOTIFY injected; --", "'::text); NOTIFY injected; --", "\\'; NOTIFY injected; --")

        for prepare in (False, True):
            for text in injections:
                same(self.querying.query(_ECHO, (text,), prepare=prepare), [(text,)])

        self.nothing_arrives(self.receiver)

    def test_fifty_megabytes_go_in_and_come_out(self) -> None:
        text = "0123456789" * (50 * _MEGABYTE // 10)

        ((answer,),) = self.querying.query(_ECHO, (text,))

        holds(answer == text, "another text has come out")

    def test_a_nul_is_refused_before_anything_is_sent(self) -> None:
        for text in ("\0", "a\0b", "a\0"):
            try:
                rows = self.querying.query(_ECHO, (text,))
            except ValueError:
                continue
            holds(False, f"query() accepted {text!r}, and returned {rows!r}")

        same(self.querying.query(_ECHO, ("next",)), [("next",)])

    @needs("encodings")
    def test_in_a_latin1_database_texts_are_right_or_refused(self) -> None:
        querying = _querying(self.backend_of(self.open(self.database_in("LATIN1"))))

        same(querying.query(f"{_ECHO}, pg_catalog.length($1)::pg_catalog.text", ("Café",)), [("Café", "4")])
        try:
            rows = querying.query(_ECHO, ("日本",))
        except (ValueError, self.database_error):
            return
        holds(rows == [("日本",)], f"query() made {rows!r} of a text that the client_encoding may lack")

    @needs("sql_ascii", "undecodable")
    def test_in_a_database_without_an_encoding_bytes_become_surrogate_escapes_or_an_error(self) -> None:
        querying = _querying(self.backend_of(self.open(self.database_in("SQL_ASCII"))))

        for prepare in (False, True):
            try:
                rows = querying.query(f"{_ECHO}, E'a\\xe9b'::pg_catalog.text, NULL", ("é",), prepare=prepare)
            except (ValueError, self.database_error):  # the driver decodes strictly, and cannot be asked not to
                pass
            else:
                same(rows, [("é", "a\udce9b", None)])
            same(querying.query(_ECHO, ("next",), prepare=prepare), [("next",)])

    # Rows, or none.

    def test_a_query_without_rows_returns_an_empty_list(self) -> None:
        for prepare in (False, True):
            same(self.querying.query(f"{_ECHO} WHERE false", ("x",), prepare=prepare), [])

    @needs("sql")
    def test_a_statement_that_returns_no_rows_returns_an_empty_list(self) -> None:
        same(self.querying.query("CREATE TEMPORARY TABLE pg_temp.pgnotify_table (text pg_catalog.text)"), [])

        for prepare in (False, True):
            insert = "INSERT INTO pg_temp.pgnotify_table VALUES ($1::pg_catalog.text)"
            same(self.querying.query(insert, ("x",), prepare=prepare), [])
            same(self.querying.query(f"{insert} RETURNING text", ("y",), prepare=prepare), [("y",)])
            same(self.querying.query("DELETE FROM pg_temp.pgnotify_table", prepare=prepare), [])
        same(self.querying.query("SELECT text FROM pg_temp.pgnotify_table"), [])

    # Prepared.

    def test_a_prepared_statement_gives_the_right_answer_each_time(self) -> None:
        other = f"{_ECHO}, 'other'::pg_catalog.text"
        for text in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh"):
            same(self.querying.query(_ECHO, (text,), prepare=True), [(text,)])
            same(self.querying.query(other, (text,), prepare=True), [(text, "other")])
            same(self.querying.query(_ECHO, (text,)), [(text,)])

    @needs("network")
    def test_a_prepared_statement_takes_one_round_trip_from_its_second_call_on(self) -> None:
        querying = _querying(self.backend_of(self.open_through_proxy()))
        querying.query(_ECHO, ("first",), prepare=True)
        self.proxy.record()

        querying.query(_ECHO, ("second",), prepare=True)

        same(self.proxy.answers, 1, "round trips of query()")

    @needs("sql")
    def test_only_what_is_to_be_prepared_is_left_in_the_session(self) -> None:
        count = "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_prepared_statements"
        before = self.querying.query(count)
        for _ in range(7):
            self.querying.query(_ECHO, ("x",))

        same(self.querying.query(count), before, "prepared statements after query() without prepare=True")

    @needs("sql")
    def test_a_release_leaves_no_prepared_statement(self) -> None:
        if not isinstance(self.backend, Releases):
            raise not_applicable("the backend does not offer release()")
        count = "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_prepared_statements"
        before = self.querying.query(count)
        for text in ("x", "y"):
            self.querying.query(_ECHO, (text,), prepare=True)
            self.querying.query(f"{_ECHO}, {text!r}", (text,), prepare=True)

        self.backend.release()

        same(self.querying.query(count), before, "prepared statements after release()")
        same(self.querying.query(_ECHO, ("next",), prepare=True), [("next",)])

    def test_a_statement_that_was_prepared_in_a_transaction_that_is_rolled_back_runs_again(self) -> None:
        for text in ("first", "second"):
            self.begin(self.db)
            same(self.querying.query(_ECHO, (text,), prepare=True), [(text,)])
            self.rollback(self.db)

        same(self.querying.query(_ECHO, ("third",), prepare=True), [("third",)])

    # Transactions.

    def test_a_query_on_an_idle_connection_has_its_effect_on_return(self) -> None:
        receiver = self.receiver
        for prepare in (False, True):
            self.querying.query(_SEND, (self.channel, "sent"), prepare=prepare)

            same(self.payloads(1, receiver), ["sent"])

    @needs("sql")
    def test_the_connection_is_idle_after_a_query(self) -> None:
        pid = self.pid_of(self.db)

        self.querying.query(_ECHO, ("x",))

        self.until_state(pid, "idle")
        same(self.backend.wait(0), False)

    def test_in_a_transaction_of_the_users_a_query_has_its_effect_when_they_commit(self) -> None:
        for joins in (False, True):
            self._has_its_effect_at_commit(lambda: self.begin(self.db), joins)

    def test_in_a_transaction_that_is_rolled_back_a_query_has_none(self) -> None:
        for joins in (False, True):
            self._has_no_effect_after_rollback(lambda: self.begin(self.db), joins)

    def test_after_an_error_in_the_users_transaction_a_query_fails_with_the_drivers_own(self) -> None:
        self.begin(self.db)
        self.fail(self.db)

        self._fails_with_the_drivers_error(_ECHO)

        self.rollback(self.db)
        same(self.querying.query(_ECHO, ("next",)), [("next",)])

    def test_an_error_of_the_server_is_the_drivers_own_and_leaves_a_usable_connection(self) -> None:
        for prepare in (False, True):
            self._fails_with_the_drivers_error(_FAILING, prepare)
            same(self.backend.wait(0), False)
            same(self.querying.query(_FAILING, ("1",), prepare=prepare), [("1",)])

    def test_an_error_in_a_query_makes_the_users_transaction_fail(self) -> None:
        receiver = self.receiver
        self.begin(self.db)
        self.querying.query(_SEND, (self.channel, "in it"))

        self._fails_with_the_drivers_error(_FAILING)
        self._fails_with_the_drivers_error(_ECHO)

        self.rollback(self.db)
        self.session.notify(self.channel, "afterwards")
        same(self.payloads(1, receiver), ["afterwards"])

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_query_has_a_transaction_of_its_own(self) -> None:
        self.without_autocommit()
        receiver = self.receiver
        for prepare in (False, True):
            self.querying.query(_SEND, (self.channel, "sent"), prepare=prepare)

            same(self.payloads(1, receiver), ["sent"])
            self.opens_transactions_as_before("query()")

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_query_that_fails_leaves_no_transaction(self) -> None:
        self.without_autocommit()

        self._fails_with_the_drivers_error(_FAILING)

        self.opens_transactions_as_before("query()")

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_query_that_joins_has_its_effect_when_the_user_commits(self) -> None:
        self.without_autocommit()
        self._has_its_effect_at_commit(_nothing, joins=True)
        self._has_no_effect_after_rollback(_nothing, joins=True)
        self.opens_transactions_as_before("query()")

    def test_a_query_that_joins_opens_a_transaction_if_a_statement_of_the_users_would(self) -> None:
        receiver = self.receiver

        self.querying.query(_SEND, (self.channel, "in it"), joins=True)
        self.session.notify(self.channel, "meanwhile")

        if self.opens_transactions():
            same(self.payloads(1, receiver), ["meanwhile"], "before the user commits")
            self.commit(self.db)
            same(self.payloads(1, receiver), ["in it"])
        else:
            same(self.payloads(2, receiver), ["in it", "meanwhile"])

    # Beside other things.

    def test_what_comes_along_with_a_query_is_there_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)

        for prepare in (False, True, True):
            self.session.notify(self.channel, "along")
            same(self.querying.query(_ECHO, ("x",), prepare=prepare), [("x",)])

            same(self.backend.wait(0), True, "wait(0) after a notification that came along with query()")
            same([each.payload for each in self.backend.fetch()], ["along"], "the one that came along with query()")

    def test_after_a_loss_every_query_reports_it(self) -> None:
        self.querying.query(_ECHO, ("x",), prepare=True)
        self.terminate(self.db)

        for prepare in (False, True, False):
            try:
                self.querying.query(_ECHO, ("x",), prepare=prepare)
            except ConnectionLost as lost:
                holds(lost.__cause__ is not None, "the ConnectionLost has no __cause__: it must be the driver's error")
                continue
            holds(False, "query() on a connection that has ended did not raise ConnectionLost")

    def _has_its_effect_at_commit(self, begin: Callable[[], object], joins: bool) -> None:
        receiver = self.receiver
        begin()
        self.querying.query(_SEND, (self.channel, "in it"), joins=joins)
        self.session.notify(self.channel, "meanwhile")
        same(self.payloads(1, receiver), ["meanwhile"], "before the user commits")

        self.commit(self.db)

        same(self.payloads(1, receiver), ["in it"])

    def _has_no_effect_after_rollback(self, begin: Callable[[], object], joins: bool) -> None:
        receiver = self.receiver
        begin()
        self.querying.query(_SEND, (self.channel, "in it"), joins=joins)

        self.rollback(self.db)
        self.session.notify(self.channel, "afterwards")

        same(self.payloads(1, receiver), ["afterwards"])

    def _fails_with_the_drivers_error(self, sql: str, prepare: bool = False) -> None:
        querying = self.querying
        try:
            querying.query(sql, ("0",), prepare=prepare)
        except Exception as error:
            holds(
                isinstance(error, self.database_error) and not isinstance(error, PgNotifyError),
                f"query() raised {error!r}: the server's errors must be the driver's own",
            )
        else:
            holds(False, "query() did not raise the server's error")


def _querying(backend: Backend) -> Queries:
    if not isinstance(backend, Queries):
        raise not_applicable("the backend does not offer query()")
    return backend


def _nothing() -> None:
    pass
