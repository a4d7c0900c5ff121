"""Faults of wait()."""

from __future__ import annotations

import math
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
