"""listen_many(), if the backend offers it: like listen(), for any number of channels, in one round trip."""

from __future__ import annotations

from functools import cached_property

from pgnotify.protocol import ListensMany
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.losing import Losing
from pgnotify.testing.conformance.transactions import is_refused
from pgnotify.testing.nasty import GOOD_CHANNELS


class SubscribingMany(Losing):
    """The promises of listen_many()."""

    @cached_property
    def many(self) -> ListensMany:
        """The backend, if it offers listen_many()."""
        if not isinstance(self.backend, ListensMany):
            raise not_applicable("the backend does not offer listen_many()")
        return self.backend

    def test_a_listen_to_many_is_in_force_on_return(self) -> None:
        self.many.listen_many([self.channel, "other"])

        self.session.notify("other", "ä")
        self.session.notify(self.channel, "ö")

        same([(each.channel, each.payload) for each in self.collect(2)], [("other", "ä"), (self.channel, "ö")])

    def test_a_listen_to_many_takes_names_as_a_listen_does(self) -> None:
        self.many.listen_many(GOOD_CHANNELS)

        for name in GOOD_CHANNELS:
            self.session.notify(name, name)

        arrived = self.collect(len(GOOD_CHANNELS))
        same([(each.channel, each.payload) for each in arrived], [(name, name) for name in GOOD_CHANNELS])

    def test_listening_to_many_twice_delivers_once_and_one_unlisten_ends_it(self) -> None:
        self.many.listen_many(["other", self.channel, self.channel])
        self.many.listen_many([self.channel, "other"])
        self.session.notify(self.channel, "once")
        self.session.notify("other", "then")
        same(self.payloads(2), ["once", "then"])

        self.backend.unlisten(self.channel)
        self.session.notify(self.channel, "unheard")
        self.session.notify("other", "heard")

        same(self.payloads(1), ["heard"])

    def test_an_unlisten_of_one_of_many_leaves_the_others_what_comes_along_with_statements(self) -> None:
        self.many.listen_many(["other", self.channel])
        self.backend.unlisten("other")

        self.backend.notify(self.channel, "to myself")

        same(self.payloads(1), ["to myself"])

    @needs("sql")
    def test_a_listen_to_many_is_sent_whatever_the_driver_remembers_of_the_last_one(self) -> None:
        self.many.listen_many([self.channel, "other"])
        self.run("UNLISTEN *")

        self.many.listen_many([self.channel, "other"])
        self.session.notify("other", "again")

        same(self.payloads(1), ["again"])

    def test_what_comes_along_with_a_listen_to_many_is_there_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)
        self.session.notify(self.channel, "along")

        self.many.listen_many(["one", "two"])

        same(self.payloads(1), ["along"])

    @needs("network")
    def test_a_listen_to_many_takes_one_round_trip(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        if not isinstance(backend, ListensMany):
            raise not_applicable("the backend does not offer listen_many()")
        backend.listen(self.channel)  # some drivers connect with their first statement only
        self.proxy.record()

        backend.listen_many(GOOD_CHANNELS)

        same(self.proxy.answers, 1, "round trips")

    def test_a_listen_to_many_of_which_one_is_refused_is_one_to_none(self) -> None:
        many = self.many  # outside the try: a test that does not apply raises an Exception, too
        self.backend.listen("before")

        try:
            many.listen_many(["before", self.channel, ""])
        except Exception:  # the driver's own error
            self.session.notify(self.channel, "to one of the refused")
            self.session.notify("before", "to one that was listened to")
        else:
            holds(False, "listen_many() did not raise the server's error")

        same(self.payloads(1), ["to one that was listened to"])

    def test_a_listen_to_none_is_no_error(self) -> None:
        self.many.listen_many([])

        self.many.listen_many([self.channel])
        self.session.notify(self.channel, "usable")
        same(self.payloads(1), ["usable"])

    @needs("sql")
    def test_the_connection_is_idle_after_a_listen_to_many(self) -> None:
        pid = self.pid_of(self.db)

        self.many.listen_many([self.channel, "other"])

        self.until_state(pid, "idle")

    def test_inside_a_transaction_a_listen_to_many_is_refused(self) -> None:
        for failed in (False, True):
            self.begin(self.db)
            if failed:
                self.fail(self.db)

            is_refused("listen_many()", lambda: self.many.listen_many([self.channel, "other"]))

            self.rollback(self.db)
        self.session.notify(self.channel)
        self.nothing_arrives()

    def test_a_termination_between_two_calls_is_told_by_a_listen_to_many(self) -> None:
        self.many.listen_many([self.channel, "other"])
        self.terminate(self.db)

        self.tells_a_loss("listen_many()")

        self.is_lost_for_good()
