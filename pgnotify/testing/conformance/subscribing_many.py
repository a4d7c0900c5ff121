"""listen_many() and unlisten_many(), if the backend offers them: any number of channels, in one round trip."""

from __future__ import annotations

from functools import cached_property

from pgnotify.protocol import Backend, ListensMany, UnlistensMany, listen_to_all
from pgnotify.testing.conformance._tools import holds, is_refused, needs, not_applicable, same
from pgnotify.testing.conformance.losing import Losing
from pgnotify.testing.nasty import GOOD_CHANNELS

_THOUSAND = tuple(f"{number} of a thousand" for number in range(1_000))


class SubscribingMany(Losing):
    """The promises of listen_many() and unlisten_many()."""

    promised_in = "ListensMany, UnlistensMany"

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

    def test_a_listen_to_a_thousand_is_in_force_for_each_of_them(self) -> None:
        channels = [*_THOUSAND]
        self.many.listen_many(channels)
        same(channels, [*_THOUSAND], "the list of channels that listen_many() was given, after it returned")

        self.listens_to(_THOUSAND, among=_THOUSAND)

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

        backend.listen_many(_THOUSAND)

        same(self.proxy.answers, 1, "round trips of listen_many()")

    def test_a_listen_to_many_of_which_one_is_refused_is_one_to_none(self) -> None:
        many = self.many  # outside the try: a test that does not apply raises an Exception, too
        self.backend.listen("before")

        try:
            many.listen_many(["before", self.channel, *_THOUSAND, ""])
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

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_listen_to_many_has_a_transaction_of_its_own(self) -> None:
        self.without_autocommit()

        self.many.listen_many([self.channel, "other"])

        self.session.notify(self.channel, "heard")
        same(self.payloads(1), ["heard"])
        self.opens_transactions_as_before("listen_many()")

    # unlisten_many()

    @cached_property
    def unlistening(self) -> UnlistensMany:
        """The backend, if it offers unlisten_many()."""
        return _unlistening(self.backend)

    def test_an_unlisten_of_many_is_in_force_on_return_and_nothing_comes_after_it(self) -> None:
        self._listen_to(self.channel, "one", "other")
        self.unlistening.unlisten_many([self.channel, "one"])

        self.session.notify(self.channel, "after the unlisten")
        self.session.notify("one", "after the unlisten")
        self.session.notify("other", "the first to arrive")

        same(self.payloads(1), ["the first to arrive"])

    def test_an_unlisten_of_a_thousand_is_in_force_for_each_of_them(self) -> None:
        unlistening = self.unlistening
        listen_to_all(self.backend, ["other", *_THOUSAND])
        channels = [*_THOUSAND]
        unlistening.unlisten_many(channels)
        same(channels, [*_THOUSAND], "the list of channels that unlisten_many() was given, after it returned")

        self.listens_to(["other"], among=_THOUSAND)

    def test_an_unlisten_of_many_takes_names_as_a_listen_does(self) -> None:
        self._listen_to("other", *GOOD_CHANNELS)
        self.unlistening.unlisten_many([*GOOD_CHANNELS, "*"])

        for name in GOOD_CHANNELS:
            self.session.notify(name, "unlistened")
        self.session.notify("other", "the first to arrive")

        same(self.payloads(1), ["the first to arrive"])

    def test_unlistening_many_ends_what_was_listened_to_twice(self) -> None:
        self._listen_to("other", self.channel, self.channel, "one", "one")

        self.unlistening.unlisten_many([self.channel, "one", "one"])
        self.session.notify(self.channel, "unheard")
        self.session.notify("one", "unheard")
        self.session.notify("other", "heard")

        same(self.payloads(1), ["heard"])

    def test_unlistening_many_twice_or_unknown_channels_does_nothing(self) -> None:
        self.unlistening.unlisten_many(["unknown", "known to nobody"])
        self._listen_to(self.channel, "other")
        for _ in range(2):
            self.unlistening.unlisten_many([self.channel, "unknown"])

        self.session.notify("other", "heard still")
        same(self.payloads(1), ["heard still"])
        self.backend.listen(self.channel)
        self.session.notify(self.channel, "again")

        same(self.payloads(1), ["again"])

    def test_an_unlisten_of_some_of_many_leaves_the_others_what_comes_along_with_statements(self) -> None:
        self._listen_to("one", self.channel, "two")
        self.unlistening.unlisten_many(["one", "two"])

        self.backend.notify(self.channel, "to myself")

        same(self.payloads(1), ["to myself"])

    def test_what_had_arrived_before_an_unlisten_of_many_stays(self) -> None:
        self._listen_to(self.channel, "other")
        self.backend.notify(self.channel, "to myself")
        self.backend.notify("other", "to myself, too")

        self.unlistening.unlisten_many([self.channel, "other"])

        same(self.payloads(2), ["to myself", "to myself, too"])

    def test_what_comes_along_with_an_unlisten_of_many_is_there_though_the_socket_is_silent(self) -> None:
        self._listen_to(self.channel, "one", "two")
        self.session.notify(self.channel, "along")

        self.unlistening.unlisten_many(["one", "two"])

        same(self.payloads(1), ["along"])

    @needs("network")
    def test_an_unlisten_of_many_takes_one_round_trip(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        unlistening = _unlistening(backend)
        listen_to_all(backend, GOOD_CHANNELS)
        self.proxy.record()

        unlistening.unlisten_many([*GOOD_CHANNELS, *_THOUSAND])

        same(self.proxy.answers, 1, "round trips of unlisten_many()")

    def test_an_unlisten_of_many_of_which_one_is_refused_is_one_of_none(self) -> None:
        unlistening = self.unlistening  # outside the try: a test that does not apply raises an Exception, too
        self._listen_to(self.channel, "other")

        try:
            unlistening.unlisten_many([self.channel, "other", *_THOUSAND, ""])
        except Exception:  # the driver's own error
            self.session.notify(self.channel, "heard still")
            self.session.notify("other", "heard, too")
        else:
            holds(False, "unlisten_many() did not raise the server's error")

        same(self.payloads(2), ["heard still", "heard, too"])

    def test_an_unlisten_of_none_does_nothing(self) -> None:
        self.backend.listen(self.channel)

        self.unlistening.unlisten_many([])

        self.session.notify(self.channel, "heard still")
        same(self.payloads(1), ["heard still"])

    @needs("sql")
    def test_the_connection_is_idle_after_an_unlisten_of_many(self) -> None:
        pid = self.pid_of(self.db)
        self._listen_to(self.channel, "other")

        self.unlistening.unlisten_many([self.channel, "other"])

        self.until_state(pid, "idle")

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_an_unlisten_of_many_has_a_transaction_of_its_own(self) -> None:
        self.without_autocommit()
        self._listen_to(self.channel, "one", "other")

        self.unlistening.unlisten_many([self.channel, "one"])

        self.session.notify(self.channel, "unheard")
        self.session.notify("other", "heard")
        same(self.payloads(1), ["heard"])
        self.opens_transactions_as_before("unlisten_many()")

    def test_inside_a_transaction_an_unlisten_of_many_is_refused(self) -> None:
        self._listen_to(self.channel, "other")
        for failed in (False, True):
            self.begin(self.db)
            if failed:
                self.fail(self.db)

            is_refused("unlisten_many()", lambda: self.unlistening.unlisten_many([self.channel, "other"]))

            self.rollback(self.db)
        self.session.notify(self.channel, "heard still")
        self.session.notify("other", "heard, too")
        same(self.payloads(2), ["heard still", "heard, too"])

    def test_a_termination_between_two_calls_is_told_by_an_unlisten_of_many(self) -> None:
        self._listen_to(self.channel, "other")
        self.unlistening.unlisten_many(["other"])
        self.terminate(self.db)

        self.tells_a_loss("unlisten_many()")

        self.is_lost_for_good()

    def _listen_to(self, *channels: str) -> None:
        for channel in channels:
            self.backend.listen(channel)


def _unlistening(backend: Backend) -> UnlistensMany:
    if not isinstance(backend, UnlistensMany):
        raise not_applicable("the backend does not offer unlisten_many()")
    return backend
