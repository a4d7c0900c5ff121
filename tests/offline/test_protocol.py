"""Many channels at once, with backends that offer it and with backends that do not."""

from __future__ import annotations

import pytest

from pgnotify.errors import TransactionError
from pgnotify.protocol import Backend, ListensMany, UnlistensMany, listen_to_all, unlisten_all

CHANNELS = ("jobs", "other")


class OneByOne(Backend):
    """A backend that offers nothing beyond the verbs; it records its calls."""

    def __init__(self):
        self.calls = []

    def listen(self, channel):
        self.calls.append(("listen", channel))

    def unlisten(self, channel):
        self.calls.append(("unlisten", channel))


class Many(OneByOne):
    """A backend that offers both; it raises the error that it is given."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def listen_many(self, channels):
        self._called("listen_many", channels)

    def unlisten_many(self, channels):
        self._called("unlisten_many", channels)

    def _called(self, name, channels):
        if self.error is not None:
            raise self.error
        self.calls.append((name, channels))


VERBS = [pytest.param(listen_to_all, "listen", id="listen"), pytest.param(unlisten_all, "unlisten", id="unlisten")]


def test_a_backend_says_by_its_methods_what_it_offers():
    assert not isinstance(OneByOne(), (ListensMany, UnlistensMany))
    assert isinstance(Many(), ListensMany)
    assert isinstance(Many(), UnlistensMany)


@pytest.mark.parametrize(("for_all", "verb"), VERBS)
def test_a_backend_that_can_is_called_once(for_all, verb):
    backend = Many()

    for_all(backend, CHANNELS)

    assert backend.calls == [(f"{verb}_many", CHANNELS)]


@pytest.mark.parametrize(("for_all", "verb"), VERBS)
@pytest.mark.parametrize("backend", [OneByOne, lambda: Many(NotImplementedError())], ids=["lacks it", "raises"])
def test_a_backend_that_cannot_is_called_once_for_each(for_all, verb, backend):
    backend = backend()

    for_all(backend, CHANNELS)

    assert backend.calls == [(verb, "jobs"), (verb, "other")]


@pytest.mark.parametrize(("for_all", "verb"), VERBS)
def test_another_error_passes_through_and_nothing_else_is_tried(for_all, verb):
    backend = Many(TransactionError("inside a transaction"))

    with pytest.raises(TransactionError) as raised:
        for_all(backend, CHANNELS)

    assert raised.value is backend.error
    assert backend.calls == []
