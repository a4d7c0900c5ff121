"""What a channel name, a payload and a time-out may be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnotify.errors import ChannelError, PayloadError
from pgnotify.limits import MAX_CHANNEL_BYTES, MAX_PAYLOAD_BYTES, check_channel, check_payload, check_timeout
from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS

any_text = st.text(st.characters(exclude_categories=()))  # with surrogates and NUL


def shortened(values):
    return [f"{value[:12]!a} of {len(value)}" for value in values]


def fits(text, least, most):
    try:
        return least <= len(text.encode()) <= most and "\0" not in text
    except UnicodeEncodeError:
        return False


def accepts(check, text):
    try:
        return check(text) is text
    except ValueError:
        return False


# Channels


def test_the_limits_are_those_of_postgresql():
    assert (MAX_CHANNEL_BYTES, MAX_PAYLOAD_BYTES) == (63, 7999)


@pytest.mark.parametrize("channel", GOOD_CHANNELS, ids=shortened(GOOD_CHANNELS))
def test_a_name_that_fits_is_returned_as_written(channel):
    assert check_channel(channel) is channel


@pytest.mark.parametrize("channel", BAD_CHANNELS, ids=shortened(BAD_CHANNELS))
def test_a_name_that_does_not_fit_is_refused(channel):
    with pytest.raises(ChannelError):
        check_channel(channel)


@given(any_text)
def test_a_name_is_accepted_exactly_if_it_fits(channel):
    assert accepts(check_channel, channel) is fits(channel, 1, 63)


@given(st.text("xé日😀", min_size=10, max_size=70))
def test_a_name_near_the_limit_is_accepted_exactly_if_it_fits(channel):
    assert accepts(check_channel, channel) is fits(channel, 1, 63)


def test_a_name_that_is_too_long_is_told_with_its_size_and_the_limit():
    with pytest.raises(ChannelError) as caught:
        check_channel("é" * 32)

    assert str(caught.value) == f"channel '{'é' * 29}…' has 64 bytes, PostgreSQL keeps 63"


def test_a_short_value_is_told_whole():
    with pytest.raises(ChannelError, match=r"^channel 'a\\x00b' has a NUL, which PostgreSQL cannot store$"):
        check_channel("a\0b")


def test_an_empty_name_is_told():
    with pytest.raises(ChannelError, match=r"^channel is empty, PostgreSQL needs at least one character$"):
        check_channel("")


def test_a_lone_surrogate_is_told_with_its_cause():
    with pytest.raises(ChannelError, match=r"^channel 'a\\udcffb' has no UTF-8 form: ") as caught:
        check_channel("a\udcffb")

    assert isinstance(caught.value.__cause__, UnicodeEncodeError)


def test_an_error_calls_the_name_what_the_caller_calls_it():
    with pytest.raises(ChannelError, match=r"^stop_event 'xxx"):
        check_channel("x" * 64, "stop_event")


@pytest.mark.parametrize("text", [*BAD_CHANNELS, *BAD_PAYLOADS], ids=shortened([*BAD_CHANNELS, *BAD_PAYLOADS]))
def test_an_error_can_always_be_printed_and_is_short(text):
    with pytest.raises(ChannelError) as caught:
        check_channel(text, "stop_event")

    assert len(str(caught.value).encode()) < 400


@pytest.mark.parametrize("channel", [None, b"jobs", 5, ["jobs"]])
def test_a_name_that_is_no_string_is_a_type_error(channel):
    with pytest.raises(TypeError, match=f"channel must be a str, not {type(channel).__name__}"):
        check_channel(channel)


# Payloads


@pytest.mark.parametrize("payload", GOOD_PAYLOADS, ids=shortened(GOOD_PAYLOADS))
def test_a_payload_that_fits_is_returned_as_written(payload):
    assert check_payload(payload) is payload


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=shortened(BAD_PAYLOADS))
def test_a_payload_that_does_not_fit_is_refused(payload):
    with pytest.raises(PayloadError):
        check_payload(payload)


@given(any_text)
def test_a_payload_is_accepted_exactly_if_it_fits(payload):
    assert accepts(check_payload, payload) is fits(payload, 0, 7999)


@given(st.integers(7990, 8010), st.text("xé日😀", max_size=8))
def test_a_payload_near_the_limit_is_accepted_exactly_if_it_fits(length, end):
    payload = "x" * (length - len(end.encode())) + end

    assert accepts(check_payload, payload) is (length <= 7999)


def test_a_payload_that_is_too_long_is_told_with_its_size_and_the_limit():
    with pytest.raises(PayloadError) as caught:
        check_payload("x" * 8000)

    assert str(caught.value) == f"payload '{'x' * 29}…' has 8000 bytes, PostgreSQL takes 7999"


@pytest.mark.parametrize("payload", [None, b"it's", 5, {"id": 1}])
def test_a_payload_that_is_no_string_is_a_type_error(payload):
    with pytest.raises(TypeError, match=f"payload must be a str, not {type(payload).__name__}"):
        check_payload(payload)


def test_both_errors_are_value_errors():
    assert issubclass(ChannelError, ValueError)
    assert issubclass(PayloadError, ValueError)


# Time-outs


@pytest.mark.parametrize("timeout", [None, 0, 0.0, 0.5, 5, 1e300, math.inf, True])
def test_a_timeout_in_seconds_is_returned(timeout):
    assert check_timeout(timeout) is timeout


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_a_timeout_that_is_negative_or_no_number_is_refused(timeout):
    with pytest.raises(ValueError, match=f"timeout must be None, 0 or positive seconds, not {timeout!r}"):
        check_timeout(timeout)


@pytest.mark.parametrize("timeout", ["5", b"5", [5], 5j])
def test_a_timeout_of_another_type_is_refused(timeout):
    with pytest.raises(TypeError, match=f"timeout must be a number of seconds or None, not {type(timeout).__name__}"):
        check_timeout(timeout)


def test_an_integer_beyond_every_float_is_accepted_or_refused_as_a_timeout():
    assert accepts(check_timeout, 10**400) in (True, False)
