"""Faults in names and payloads."""

from __future__ import annotations

import psycopg

from tests.kit.mutants.base import Mutant


class FoldsTheCase(Mutant):
    caught_by = "test_the_case_of_a_name_is_kept"

    def listen(self, channel):
        self.sound.listen(channel.lower())


class TruncatesNames(Mutant):
    caught_by = "test_a_name_of_63_bytes_is_not_cut"

    def listen(self, channel):
        self.sound.listen(channel[:62])


class UnlistensUnquoted(Mutant):
    caught_by = "test_an_unlisten_takes_a_name_as_a_listen_does"

    def unlisten(self, channel):
        self.sound.unlisten(channel if channel.isidentifier() and channel.islower() else channel.lower())


class CutsPayloads(Mutant):
    caught_by = "test_a_payload_of_7999_bytes_is_not_cut"

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload.encode()[:7_998].decode(errors="ignore"))


class PastesPayloadsIntoSQL(Mutant):
    caught_by = "test_a_payload_cannot_become_a_part_of_the_statement"

    def notify(self, channel, payload=""):
        psycopg.ClientCursor(self.connection).execute(f"SELECT pg_notify('{channel}', '{payload}')")


class StripsPayloads(Mutant):
    caught_by = "test_a_payload_may_have_anything_in_it_that_text_can"

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload.strip())
