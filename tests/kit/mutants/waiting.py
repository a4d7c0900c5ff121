"""Faults of wait()."""

from __future__ import annotations

import math
import os
import select
import time

from tests.kit.mutants.base import Mutant


class WatchesTheSocketOnly(Mutant):
    """The recipe in the documentation of every driver."""

    caught_by = "test_a_notification_to_oneself_is_there_though_the_socket_is_silent"

    def wait(self, timeout, wakeup=None):
        watched = [self.connection.fileno(), *([] if wakeup is None else [wakeup])]
        return bool(select.select(watched, [], [], timeout)[0])


class SelectsHighDescriptors(Mutant):
    caught_by = "test_a_descriptor_over_1023_can_be_waited_for"

    def wait(self, timeout, wakeup=None):
        select.select([self.connection.fileno()], [], [], 0)
        return self.sound.wait(timeout, wakeup)


class TimesOutLate(Mutant):
    caught_by = "test_a_wait_of_a_fraction_of_a_second_does_not_time_out_late"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and math.ceil(2 * timeout) / 2, wakeup)


class TimesOutEarly(Mutant):
    caught_by = "test_a_wait_of_a_fraction_of_a_second_is_no_shorter"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and timeout / 2, wakeup)


class WaitsBusily(Mutant):
    caught_by = "test_a_wait_is_idle_and_costs_no_processor_time"
    tries = 10  # on a busy machine it may get no processor to waste
    pause = 0.0

    def wait(self, timeout, wakeup=None):
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self.sound.wait(0, wakeup):
            if time.monotonic() >= deadline:
                return False
            if self.pause:
                time.sleep(self.pause)  # the fault of this mutant
        return True


class LooksEachMillisecond(WaitsBusily):
    pause = 0.001


class WaitsOnItsWakeupNever(Mutant):
    caught_by = "test_the_wakeup_descriptor_ends_a_wait_without_end"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(2 if timeout is None else timeout)


class TakesForEverForNothing(Mutant):
    caught_by = "test_a_notification_ends_a_wait_without_end"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout or 0, wakeup)


class IsAlarmedForEver(Mutant):
    caught_by = "test_what_is_fetched_is_not_fetched_again"

    def wait(self, timeout, wakeup=None):
        self.sound.wait(0)
        return True


class SleepsThroughNotifications(Mutant):
    caught_by = "test_a_notification_ends_a_wait_that_has_an_end"

    def wait(self, timeout, wakeup=None):
        if not timeout or self.sound.wait(0, wakeup):
            return self.sound.wait(timeout, wakeup)
        select.select([] if wakeup is None else [wakeup], [], [], min(timeout, 3))
        return self.sound.wait(0)


class WatchesItsWakeupOnlyForEver(Mutant):
    caught_by = "test_the_wakeup_descriptor_ends_a_wait_that_has_an_end"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and min(timeout, 3), None if timeout else wakeup)


class LooksAndSeesNothing(Mutant):
    caught_by = "test_a_wait_of_no_time_sees_what_has_arrived"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout, wakeup) and timeout != 0


class CountsToInfinity(Mutant):
    caught_by = "test_a_wait_of_years_or_of_infinity_is_possible"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and int(timeout * 1_000) / 1_000, wakeup)


class LooksForEver(Mutant):
    """No time is as false as None is."""

    caught_by = "test_a_wait_of_no_time_only_looks"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout or None, wakeup)


class RoundsDownToMilliseconds(Mutant):
    caught_by = "test_the_shortest_waits_end_and_are_no_looks"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(math.floor(timeout * 1_000) / 1_000 if timeout and timeout < 1 else timeout, wakeup)


class TakesTheShortestWaitForNone(Mutant):
    caught_by = "test_the_shortest_waits_end_and_are_no_looks"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(None if timeout and round(timeout, 6) == 0 else timeout, wakeup)


class SleepsBeforeItLooks(Mutant):
    """What the driver has read already is seen when the time is over."""

    caught_by = "test_a_notification_to_oneself_is_there_though_the_socket_is_silent"

    def wait(self, timeout, wakeup=None):
        watched = [self.connection.fileno(), *([] if wakeup is None else [wakeup])]
        return bool(select.select(watched, [], [], min(timeout or 0, 0.5))[0]) or self.sound.wait(timeout, wakeup)


class LooksAtTheSocketOnly(Mutant):
    caught_by = "test_a_notification_to_oneself_is_there_though_the_socket_is_silent"

    def wait(self, timeout, wakeup=None):
        if timeout == 0:
            return bool(select.select([self.connection.fileno()], [], [], 0)[0])
        return self.sound.wait(timeout, wakeup)


class ReadsItsWakeup(Mutant):
    """Its caller cannot see any more that it was woken."""

    caught_by = "test_a_wakeup_ends_each_wait_until_it_is_cleared"

    def wait(self, timeout, wakeup=None):
        ended = self.sound.wait(timeout, wakeup)
        if wakeup is not None and select.select([wakeup], [], [], 0)[0]:
            os.read(wakeup, 4096)
        return ended


class WakesOnce(Mutant):
    """An edge-triggered poller does this."""

    caught_by = "test_a_wakeup_ends_each_wait_until_it_is_cleared"
    woken = False

    def wait(self, timeout, wakeup=None):
        if wakeup is None:
            return self.sound.wait(timeout)
        before, self.woken = self.woken, bool(select.select([wakeup], [], [], 0)[0])
        return self.sound.wait(2) if before and self.woken else self.sound.wait(timeout, wakeup)


class LooksWithoutItsWakeup(Mutant):
    caught_by = "test_a_look_sees_the_wakeup_descriptor_too"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout, wakeup if timeout != 0 else None)


class RemembersItsWakeup(Mutant):
    caught_by = "test_each_wait_may_have_another_wakeup_descriptor"
    first = None

    def wait(self, timeout, wakeup=None):
        if self.first is None:
            self.first = wakeup
        return self.sound.wait(min(2, timeout or 2) if wakeup is not None else timeout, wakeup and self.first)


class DropsWhatComesWithAWakeup(Mutant):
    caught_by = "test_a_wakeup_and_a_notification_at_once_are_both_told"

    def wait(self, timeout, wakeup=None):
        ended = self.sound.wait(timeout, wakeup)
        if wakeup is not None and select.select([wakeup], [], [], 0)[0]:
            self.sound.fetch()
        return ended


class TellsOfEachOnce(Mutant):
    caught_by = "test_a_wait_returns_true_until_everything_is_fetched"
    told = False

    def wait(self, timeout, wakeup=None):
        if self.told:
            time.sleep(min(2, timeout or 2))  # the fault of this mutant
            return False
        self.told = self.sound.wait(timeout, wakeup)
        return self.told

    def fetch(self):
        self.told = False
        return self.sound.fetch()


class EndsEarlyAtANotice(Mutant):
    """It takes the end of its wait for a time-out where there is nothing to fetch."""

    caught_by = "test_a_notice_or_a_changed_parameter_is_a_false_alarm_at_most"

    def wait(self, timeout, wakeup=None):
        ended = self.sound.wait(timeout, wakeup)
        if ended and timeout:
            self.sound._consume(self.sound._inbox().raw)
            return self.sound._buffered()
        return ended


class AsksTheServerBeforeItFetches(Mutant):
    """As is done with drivers that read along with a statement only."""

    caught_by = "test_neither_a_wait_nor_a_fetch_asks_the_server"

    def fetch(self):
        if not self.connection.closed and not self.connection.info.transaction_status:
            self.sound.check()
        return self.sound.fetch()


class AsksTheServerBeforeItWaits(Mutant):
    caught_by = "test_neither_a_wait_nor_a_fetch_asks_the_server"

    def wait(self, timeout, wakeup=None):
        if not self.connection.closed and not self.connection.info.transaction_status:
            self.sound.check()
        return self.sound.wait(timeout, wakeup)
