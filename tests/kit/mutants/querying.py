"""Faults of query()."""

from __future__ import annotations

import re

import psycopg

from pgnotify.errors import ConnectionLost, PgNotifyError
from tests.kit.mutants.base import Mutant


class ReturnsValues(Mutant):
    caught_by = "test_a_query_returns_rows_of_texts"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        rows = super().query(sql, parameters, prepare, joins)
        return [tuple(text == "true" if text in ("true", "false") else text for text in row) for row in rows]


class ReturnsLists(Mutant):
    caught_by = "test_a_query_returns_rows_of_texts"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return list(map(list, super().query(sql, parameters, prepare, joins)))


class StripsTexts(Mutant):
    caught_by = "test_every_character_goes_in_and_comes_out"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, [text and text.strip() for text in parameters], prepare, joins)


class MakesNullOfNothing(Mutant):
    caught_by = "test_null_goes_in_and_comes_out"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, [text or None for text in parameters], prepare, joins)


class WritesNullAsText(Mutant):
    caught_by = "test_null_goes_in_and_comes_out"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, ["NULL" if text is None else text for text in parameters], prepare, joins)


class UsesTheDriversPlaceholders(Mutant):
    caught_by = "test_a_parameter_may_stand_anywhere_and_more_than_once"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        cursor = self.connection.execute(re.sub(r"\$\d+", "%s", sql), tuple(parameters) or None)
        return cursor.fetchall() if cursor.description else []


class FindsParametersInLiterals(Mutant):
    caught_by = "test_nothing_in_a_literal_a_name_or_a_comment_is_a_parameter"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        named = {f"p{number}": text for number, text in enumerate(parameters, 1)}
        named.setdefault("p1", ""), named.setdefault("p2", "")
        cursor = self.connection.execute(re.sub(r"\$(\d+)", r"%(p\1)s", sql.replace("%", "%%")), named)
        return cursor.fetchall() if cursor.description else []


class QuotesByHand(Mutant):
    caught_by = "test_a_parameter_cannot_become_a_part_of_the_statement"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        for number, text in enumerate(parameters, 1):
            sql = sql.replace(f"${number}", "NULL" if text is None else f"'{text}'")
        return self.sound.query(sql)


class CutsAtAMegabyte(Mutant):
    caught_by = "test_fifty_megabytes_go_in_and_come_out"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, [text and text[: 2**20] for text in parameters], prepare, joins)


class CutsAtANul(Mutant):
    caught_by = "test_a_nul_is_refused_before_anything_is_sent"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, [text and text.partition("\0")[0] for text in parameters], prepare, joins)


class ReturnsNoneForNoRows(Mutant):
    caught_by = "test_a_query_without_rows_returns_an_empty_list"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, parameters, prepare, joins) or None


class FetchesWhatIsNotThere(Mutant):
    caught_by = "test_a_statement_that_returns_no_rows_returns_an_empty_list"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        if "RETURNING" not in sql and not sql.startswith("SELECT"):
            return self.connection.execute("CREATE TEMPORARY TABLE pgnotify_table (text text)").fetchall()
        return super().query(sql, parameters, prepare, joins)


class AnswersWithThePlanOfAnother(Mutant):
    caught_by = "test_a_prepared_statement_gives_the_right_answer_each_time"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        if prepare:
            sql = self.__dict__.setdefault("prepared", sql)
        return super().query(sql, parameters, prepare, joins)


class PreparesEachTime(Mutant):
    caught_by = "test_a_prepared_statement_takes_one_round_trip_from_its_second_call_on"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        self.sound._prepared.clear()
        return super().query(sql, parameters, prepare, joins)


class PreparesEverything(Mutant):
    caught_by = "test_only_what_is_to_be_prepared_is_left_in_the_session"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, parameters, True, joins)


class LeavesWhatItHasPrepared(Mutant):
    caught_by = "test_a_release_leaves_no_prepared_statement"

    def release(self):
        self.sound._prepared.clear()
        super().release()


class ForgetsThePlanAtARollback(Mutant):
    caught_by = "test_a_statement_that_was_prepared_in_a_transaction_that_is_rolled_back_runs_again"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        if prepare and self.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            raise psycopg.errors.InvalidSqlStatementName("prepared statement does not exist")
        return super().query(sql, parameters, prepare, joins)


class CommitsTheUsersTransaction(Mutant):
    caught_by = "test_in_a_transaction_of_the_users_a_query_has_its_effect_when_they_commit"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        rows = super().query(sql, parameters, prepare, joins)
        self.connection.commit()
        return rows


class UsesAConnectionOfItsOwn(Mutant):
    caught_by = "test_in_a_transaction_that_is_rolled_back_a_query_has_none"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        with psycopg.connect(self.connection.info.dsn, password=self.connection.info.password) as other:
            return [tuple(row) for row in other.execute(re.sub(r"\$\d", "%s", sql), parameters)]


class RollsBackAFailedTransaction(Mutant):
    caught_by = "test_after_an_error_in_the_users_transaction_a_query_fails_with_the_drivers_own"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            self.connection.rollback()
        return super().query(sql, parameters, prepare, joins)


class WrapsTheServersErrors(Mutant):
    caught_by = "test_an_error_of_the_server_is_the_drivers_own_and_leaves_a_usable_connection"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        try:
            return super().query(sql, parameters, prepare, joins)
        except psycopg.DatabaseError as error:
            raise PgNotifyError("the query has failed") from error


class HidesAnErrorInASavepoint(Mutant):
    caught_by = "test_an_error_in_a_query_makes_the_users_transaction_fail"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        with self.connection.transaction():
            return super().query(sql, parameters, prepare, joins)


class LeavesATransactionOpen(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_query_has_a_transaction_of_its_own"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, parameters, prepare, True)


class LeavesAutocommitOn(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_query_has_a_transaction_of_its_own"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self.connection.autocommit = True
        return super().query(sql, parameters, prepare, joins)


class LeavesAFailedTransaction(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_query_that_fails_leaves_no_transaction"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        rows = super().query(sql, parameters, prepare, True)
        if not self.connection.autocommit:
            self.connection.commit()
        return rows


class NeverJoins(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_query_that_joins_has_its_effect_when_the_user_commits"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return super().query(sql, parameters, prepare, False)


class BeginsInAutocommitMode(Mutant):
    caught_by = "test_a_query_that_joins_opens_a_transaction_if_a_statement_of_the_users_would"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        if joins:
            self.connection.execute("BEGIN")
        return super().query(sql, parameters, prepare, joins)


class DropsWhatComesAlong(Mutant):
    caught_by = "test_what_comes_along_with_a_query_is_there_though_the_socket_is_silent"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        rows = super().query(sql, parameters, prepare, joins)
        self.sound.fetch()
        return rows


class PassesALossThrough(Mutant):
    caught_by = "test_after_a_loss_every_query_reports_it"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        try:
            return super().query(sql, parameters, prepare, joins)
        except ConnectionLost as lost:
            raise lost.__cause__ from None


class ReportsALossOnce(Mutant):
    caught_by = "test_after_a_loss_every_query_reports_it"

    def query(self, sql, parameters=(), prepare=False, joins=False):
        try:
            return super().query(sql, parameters, prepare, joins)
        except ConnectionLost:
            if self.__dict__.setdefault("reported", 0):
                return []
            self.reported = 1
            raise
