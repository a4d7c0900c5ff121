"""listen() and unlisten(): in force on return, and for exactly the name that was given."""

from __future__ import annotations

from pgnotify.connection import Connection
from pgnotify.errors import ChannelError
from pgnotify.notification import Notification
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.kit import Kit
from pgnotify.testing.nasty import BAD_CHANNELS, GOOD_CHANNELS


class Subscribing(Kit):
    """The promises of listen() and unlisten()."""

    promised_in = "Backend.listen, Backend.unlisten"

    def test_a_listen_is_in_force_on_return(self) -> None:
        self.backend.listen(self.channel)

        self.session.notify(self.channel, "ä")

        same(self.collect(1), [Notification(self.channel, "ä", self.session.pid)])

    def test_an_unlisten_is_in_force_on_return_and_nothing_comes_after_it(self) -> None:
        self.backend.listen(self.channel)
        self.backend.listen("other")
        self.backend.unlisten(self.channel)

        self.session.notify(self.channel, "after the unlisten")
        self.session.notify("other", "the first to arrive")

        same(self.payloads(1), ["the first to arrive"])

    def test_a_channel_that_nobody_listens_to_brings_nothing(self) -> None:
        self.backend.listen("other")

        self.session.notify(self.channel)

        self.nothing_arrives()

    def test_listening_twice_delivers_once_and_one_unlisten_ends_it(self) -> None:
        for channel in ("other", self.channel, self.channel):
            self.backend.listen(channel)
        self.session.notify(self.channel, "once")
        self.session.notify("other", "then")
        same(self.payloads(2), ["once", "then"])

        self.backend.unlisten(self.channel)
        self.session.notify(self.channel, "unheard")
        self.session.notify("other", "heard")

        same(self.payloads(1), ["heard"])

    @needs("sql")
    def test_a_listen_is_sent_whatever_the_driver_remembers_of_the_last_one(self) -> None:
        self.backend.listen(self.channel)
        self.run("UNLISTEN *")

        self.backend.listen(self.channel)
        self.session.notify(self.channel, "again")

        same(self.payloads(1), ["again"])

    def test_a_channel_that_is_called_star_is_one_channel(self) -> None:
        self.backend.listen(self.channel)
        self.backend.listen("*")
        self.backend.unlisten("*")

        self.session.notify("*", "unheard")
        self.session.notify(self.channel, "heard")

        same(self.payloads(1), ["heard"])

    def test_unlistening_twice_or_an_unknown_channel_does_nothing(self) -> None:
        self.backend.unlisten("unknown")
        self.backend.listen(self.channel)
        self.backend.unlisten(self.channel)
        self.backend.unlisten(self.channel)

        self.backend.listen(self.channel)
        self.session.notify(self.channel, "again")

        same(self.payloads(1), ["again"])

    def test_what_had_arrived_before_an_unlisten_stays(self) -> None:
        self.backend.listen(self.channel)
        self.backend.notify(self.channel, "to myself")

        self.backend.unlisten(self.channel)

        same(self.payloads(1), ["to myself"])

    def test_the_case_of_a_name_is_kept(self) -> None:
        self.backend.listen("MixedCase")

        self.session.notify("mixedcase", "folded")
        self.session.notify("MixedCase", "as written")

        same([(each.channel, each.payload) for each in self.collect(1)], [("MixedCase", "as written")])

    def test_a_name_may_have_anything_in_it_that_a_name_can(self) -> None:
        for name in GOOD_CHANNELS:
            self.backend.listen(name)
        for name in GOOD_CHANNELS:
            self.session.notify(name, name)

        arrived = self.collect(len(GOOD_CHANNELS))
        same([(each.channel, each.payload) for each in arrived], [(name, name) for name in GOOD_CHANNELS])

    def test_an_unlisten_takes_a_name_as_a_listen_does(self) -> None:
        for name in GOOD_CHANNELS:
            self.backend.listen(name)
        for name in GOOD_CHANNELS:
            self.backend.unlisten(name)
        self.backend.listen("other")

        for name in GOOD_CHANNELS:
            self.session.notify(name, "unlistened")
        self.session.notify("other", "the first to arrive")

        same(self.payloads(1), ["the first to arrive"])

    def test_a_name_of_63_bytes_is_not_cut(self) -> None:
        longest = "x" * 63
        self.backend.listen(longest)

        self.session.notify(longest[:-1], "to a shorter name")
        self.session.notify(longest, "to the whole name")

        same([(each.channel, each.payload) for each in self.collect(1)], [(longest, "to the whole name")])

    def test_a_name_that_postgresql_would_cut_is_refused_before_anything_is_sent(self) -> None:
        connection = Connection(self.db, self.backend)

        for name in BAD_CHANNELS:
            for refused in (connection.listen, connection.unlisten, connection.notify):
                try:
                    refused(name)
                except ChannelError:
                    continue
                holds(False, f"{refused.__name__}() accepted the name {name[:80]!r}")

        self.backend.listen(self.channel)
        self.nothing_arrives()

    @needs("sql")
    def test_the_connection_is_idle_after_each_verb(self) -> None:
        pid = self.pid_of(self.db)

        for verb in (self.backend.listen, self.backend.notify, lambda _: self.backend.fetch(), self.backend.unlisten):
            verb(self.channel)
            self.until_state(pid, "idle")

        same([tuple(row) for row in self.run("SELECT 1")], [(1,)])

    def test_the_autocommit_mode_is_left_as_it_was(self) -> None:
        self.pid_of(self.db)  # some drivers connect with their first statement only
        before = getattr(self.db, "autocommit", None)
        if before is None:
            raise not_applicable("the connection has no attribute autocommit")

        self.backend.listen(self.channel)
        self.backend.notify(self.channel)
        self.collect(1)
        self.backend.unlisten(self.channel)

        same(getattr(self.db, "autocommit", None), before)
