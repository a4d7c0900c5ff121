"""Faults of listen() and unlisten()."""

from __future__ import annotations

from tests.kit.mutants.base import Mutant


class ListensLater(Mutant):
    """A driver that queues its statements does this."""

    caught_by = "test_a_listen_is_in_force_on_return"

    def __init__(self, connection):
        super().__init__(connection)
        self.later: list[str] = []

    def listen(self, channel):
        self.later.append(channel)

    def wait(self, timeout, wakeup=None):
        while self.later:
            self.sound.listen(self.later.pop(0))
        return super().wait(timeout, wakeup)


class DeliversAfterUnlisten(Mutant):
    caught_by = "test_an_unlisten_is_in_force_on_return_and_nothing_comes_after_it"

    def unlisten(self, channel):
        """Do nothing, neither on the server nor here."""


class CountsItsListens(Mutant):
    caught_by = "test_listening_twice_delivers_once_and_one_unlisten_ends_it"

    def __init__(self, connection):
        super().__init__(connection)
        self.counts: dict[str, int] = {}

    def listen(self, channel):
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.sound.listen(channel)

    def unlisten(self, channel):
        self.counts[channel] = self.counts.get(channel, 0) - 1
        if not self.counts[channel]:
            self.sound.unlisten(channel)


class LosesWhatArrivesDuringListen(Mutant):
    caught_by = "test_what_came_along_with_a_listen_is_there_though_the_socket_is_silent"

    def listen(self, channel):
        self.sound.listen(channel)
        self.sound.fetch()


class ThrowsAwayAtUnlisten(Mutant):
    caught_by = "test_what_had_arrived_before_an_unlisten_stays"

    def unlisten(self, channel):
        self.sound.unlisten(channel)
        self.sound.fetch()


class LeavesItsTransactionOpen(Mutant):
    caught_by = "test_the_connection_is_idle_after_each_verb"

    def listen(self, channel):
        self.sound.listen(channel)
        self.connection.execute("BEGIN")


class ChangesTheMode(Mutant):
    caught_by = "test_the_autocommit_mode_is_left_as_it_was"

    def listen(self, channel):
        self.sound.listen(channel)
        self.connection.autocommit = not self.connection.autocommit


class RemembersItsListens(Mutant):
    """A driver that sends LISTEN for the first callback only does this."""

    caught_by = "test_a_listen_is_sent_whatever_the_driver_remembers_of_the_last_one"

    def __init__(self, connection):
        super().__init__(connection)
        self.listened: set[str] = set()

    def listen(self, channel):
        if channel not in self.listened:
            self.sound.listen(channel)
        self.listened.add(channel)

    def unlisten(self, channel):
        self.sound.unlisten(channel)
        self.listened.discard(channel)


class TakesAStarForAll(Mutant):
    caught_by = "test_a_channel_that_is_called_star_is_one_channel"

    def unlisten(self, channel):
        self.sound.unlisten(channel)
        if channel == "*":
            self.connection.execute("UNLISTEN *")
