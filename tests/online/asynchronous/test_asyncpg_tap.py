"""Any stream of messages, in any pieces: notifications are taken out, and everything else passes unchanged."""

from __future__ import annotations

import struct
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pgnotify.backends._asyncpg_tap import Tap, mark_query
from pgnotify.testing._proxy import notification

_texts = st.binary(max_size=20).map(lambda text: text.replace(b"\0", b""))
_notifications = st.tuples(st.just("A"), st.sampled_from(["x", "mine"]), _texts)
# Its contents look like other messages.
_others = st.tuples(
    st.sampled_from("DZSNCT"), st.just(""), st.one_of(st.binary(max_size=20), st.just(notification("x", b"fake") * 3))
)


class Transport:
    def __init__(self):
        self.passed = b""
        self.protocol = self

    def get_protocol(self):
        return self.protocol

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_settings(self):
        return SimpleNamespace(get_text_codec=lambda: SimpleNamespace(name="utf-8"))

    def data_received(self, data):
        self.passed += data


class Connection:
    _pool_release_ctr = 0

    def __init__(self, callbacks=()):
        self._transport = self._protocol = Transport()
        self._listeners = dict.fromkeys(callbacks)


@given(st.lists(st.one_of(_notifications, _others)), st.lists(st.integers(1, 40)), st.binary(max_size=40))
def test_any_stream_in_any_pieces(messages, sizes, before):
    connection = Connection(callbacks=["mine"])
    transport, tap = connection._transport, Tap(connection)
    tap.channels.add("x")
    mark = tap.install().encode()
    stream = before + mark + b"".join(map(_bytes, messages))

    for piece in _pieces(stream, sizes):
        transport.protocol.data_received(piece)

    assert [(channel, payload) for channel, payload, _ in tap.arrived] == [
        (channel, content.decode("utf-8", "surrogateescape")) for code, channel, content in messages if channel == "x"
    ]
    assert transport.passed == before + mark + b"".join(_bytes(each) for each in messages if _is_for_asyncpg(*each))


@given(st.integers(0, 41))
def test_what_is_held_back_is_passed_at_the_end(size):
    connection = Connection()
    transport, tap = connection._transport, Tap(connection)
    whole, second = notification("x", b"whole"), notification("x", b"in two pieces")
    mark = tap.install().encode()
    transport.protocol.data_received(mark)
    transport.passed = b""
    transport.protocol.data_received((whole + second)[:size])

    tap.uninstall()

    taken = whole if tap.arrived else b""
    assert taken + transport.passed == (whole + second)[:size]
    assert transport.protocol is transport


def test_the_mark_is_not_in_the_statement_that_asks_for_it():
    mark = Tap(Connection()).install()

    assert mark not in mark_query(mark)
    assert mark_query(mark).replace("'\n'", "") == f"SELECT '{mark}'"


def test_a_notification_that_is_none_passes():
    connection = Connection()
    transport, tap = connection._transport, Tap(connection)
    mark = tap.install().encode()
    transport.protocol.data_received(mark)
    transport.passed = b""
    impossible = b"A" + struct.pack("!i", 16) + b"\0\0\0\1no zero!"

    transport.protocol.data_received(impossible + notification("x", b"after"))

    assert transport.passed == impossible
    assert [payload for _, payload, _ in tap.arrived] == ["after"]


def _bytes(message):
    code, channel, content = message
    if code == "A":
        return notification(channel, content)
    return code.encode() + struct.pack("!i", len(content) + 4) + content


def _is_for_asyncpg(code, channel, content):
    if code != "A":
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return channel == "mine"


def _pieces(stream, sizes):
    while stream:
        size = sizes.pop() if sizes else len(stream)
        yield stream[:size]
        stream = stream[size:]
