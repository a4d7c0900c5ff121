"""Encodings other than UTF-8, bytes that cannot be decoded, and descriptors above the limit of select()."""

from __future__ import annotations

import os
from typing import Any

from pgnotify.errors import PayloadError
from pgnotify.protocol import Backend, ChecksHealth, NotifiesMany
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.address import Address
from pgnotify.testing.conformance._resources import low_descriptors_taken
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.kit import Kit

_BAD = "a\udce9b"  # surrogateescape decodes b"a\xe9b" to this


class Encodings(Kit):
    """The promises of fetch() and notify() about bytes and text."""

    promised_in = "Backend.fetch, Backend.notify"

    @needs("network", "undecodable")
    def test_bytes_that_cannot_be_decoded_harm_nothing_around_them(self) -> None:
        self._survives_bad_bytes(with_query=False)

    @needs("network", "sql", "undecodable")
    def test_bytes_that_cannot_be_decoded_do_no_harm_along_with_a_query(self) -> None:
        self._survives_bad_bytes(with_query=True)

    @needs("network", "undecodable", "surrogateescape")
    def test_bytes_that_cannot_be_decoded_come_out_as_surrogate_escapes(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)

        self.proxy.say(notification_bytes(self.channel, b"a\xe9b"))

        same(self.payloads(1, backend), [_BAD])

    @needs("encodings")
    def test_in_a_latin1_database_names_and_payloads_are_right(self) -> None:
        address = self.database_in("LATIN1")
        session = self.open_session_at(address)
        session.sql("SET client_encoding TO UTF8")
        backend = self.backend_of(self.open(address))
        backend.listen("Café")

        session.notify("Café", "é")
        backend.notify("Café", "ü")
        if isinstance(backend, NotifiesMany):
            backend.notify_many([("Café", "ö")])
        expected = [("Café", each) for each in ("éüö" if isinstance(backend, NotifiesMany) else "éü")]
        same([(each.channel, each.payload) for each in self.collect(len(expected), backend)], expected)

        backend.unlisten("Café")
        session.notify("Café", "unheard")
        self.nothing_arrives(backend)

    @needs("encodings")
    def test_in_a_latin1_database_a_check_tells_names_as_they_were_listened_to(self) -> None:
        backend = self.backend_of(self.open(self.database_in("LATIN1")))
        if not isinstance(backend, ChecksHealth):
            raise not_applicable("the backend does not offer check()")
        backend.listen("Café")

        same(backend.check().channels, frozenset({"Café"}))

    @needs("sql_ascii", "undecodable")
    def test_a_database_without_an_encoding_does_no_harm(self) -> None:
        self._survives_a_database_without_encoding(with_transaction=False)

    @needs("sql_ascii", "undecodable")
    def test_a_database_without_an_encoding_does_no_harm_along_with_a_query(self) -> None:
        self._survives_a_database_without_encoding(with_transaction=True)

    def _survives_a_database_without_encoding(self, with_transaction: bool) -> None:
        address = self.database_in("SQL_ASCII")
        session = self.open_session_at(address)
        connection = self.open(address)
        backend = self.backend_of(connection)
        backend.listen("plain")

        if with_transaction:
            self.begin(connection)
        session.notify("plain", "before")
        session.sql(r"SELECT pg_catalog.pg_notify('plain', E'a\xe9b')")
        session.notify("plain", "after")
        if with_transaction:
            self.commit(connection)

        self._harms_only_the_bad_one(backend)
        self._is_usable(backend, connection, "plain")

    def test_a_descriptor_over_1023_can_be_waited_for(self) -> None:
        session, channel = self.session, self.channel
        with low_descriptors_taken():
            backend = self.backend_of(self.open())
            backend.listen(channel)
            holds(self.wakeup.fileno() > 1_023, "the test got no descriptor above 1,023")

            same(backend.wait(0.01, self.wakeup.fileno()), False)
            session.notify(channel, "high")
            same(self.payloads(1, backend), ["high"])
            self.wakeup.wake()
            same(backend.wait(self.patience, self.wakeup.fileno()), True)
            backend.close()

    def database_in(self, encoding: str) -> Address:
        """Return the address of a database with this encoding; create the database if it does not exist."""
        name = f"pgnotify_{encoding.lower()}_{os.getpid()}"
        if not self.session.sql(f"SELECT FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) '{name}'"):
            if self.session.sql(
                "SELECT FROM pg_catalog.pg_roles "
                "WHERE rolname OPERATOR(pg_catalog.=) current_user AND NOT (rolcreatedb OR rolsuper)"
            ):
                raise not_applicable(f"the role {self.address.user} may not create a database here")
            self.session.sql(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            # Not always the default: if the server's own environment names an encoding, the server uses that.
            self.session.sql(f"ALTER DATABASE {name} SET client_encoding TO '{encoding}'")
            self._databases.append((self.open_session, self.address, name))
        return self.address._replace(database=name)

    def _survives_bad_bytes(self, with_query: bool) -> None:
        connection = self.open_through_proxy()
        backend = self.backend_of(connection)
        backend.listen(self.channel)
        sent = (b"before", b"a\xe9b", b"after")

        self.proxy.say(b"".join(notification_bytes(self.channel, payload) for payload in sent))
        if with_query:
            same(self.run("SELECT 1", connection), [(1,)], "the answer to a query")

        self._harms_only_the_bad_one(backend)
        self._is_usable(backend, connection, self.channel)

    def _harms_only_the_bad_one(self, backend: Backend) -> None:
        """Fail unless "before" and "after" arrive; for the bad one between them, a PayloadError is allowed too."""
        arrived: list[str] = []
        refused = 0
        while len(arrived) + refused < 3:
            try:
                arrived += self.payloads(1, backend)
            except PayloadError:
                refused += 1
        same([arrived[0], arrived[-1]], ["before", "after"])
        if "surrogateescape" not in self.cannot:
            same(arrived, ["before", _BAD, "after"])

    def _is_usable(self, backend: Backend, connection: Any, channel: str) -> None:
        if "sql" not in self.cannot:
            same([self.run(f"SELECT {number}", connection) for number in (2, 3)], [[(2,)], [(3,)]])
        backend.notify(channel, "usable")
        same(self.payloads(1, backend), ["usable"])
