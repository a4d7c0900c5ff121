"""The tables of states: every state of a watch with every input, and every two states of a Listener."""

from __future__ import annotations

import itertools
import json

import pytest

from pgnotify.program.state import LISTENER_TRANSITIONS, TRANSITIONS, Input, ListenerState, State, advance, follow

IDLE, LISTENING, LOST, CLOSED = State.IDLE, State.LISTENING, State.LOST, State.CLOSED

# Written out a second time, by hand: a slip in the table must not correct its own test.
EXPECTED = {
    (IDLE, Input.LISTENED): LISTENING,
    (IDLE, Input.UNLISTENED): None,
    (IDLE, Input.CONNECTION_LOST): LOST,
    (IDLE, Input.CLOSED): CLOSED,
    (LISTENING, Input.LISTENED): None,
    (LISTENING, Input.UNLISTENED): IDLE,
    (LISTENING, Input.CONNECTION_LOST): LOST,
    (LISTENING, Input.CLOSED): CLOSED,
    (LOST, Input.LISTENED): LISTENING,
    (LOST, Input.UNLISTENED): None,
    (LOST, Input.CONNECTION_LOST): LOST,
    (LOST, Input.CLOSED): CLOSED,
    (CLOSED, Input.LISTENED): None,
    (CLOSED, Input.UNLISTENED): None,
    (CLOSED, Input.CONNECTION_LOST): None,
    (CLOSED, Input.CLOSED): None,
}

LEGAL = [(state, happened, follows) for (state, happened), follows in EXPECTED.items() if follows is not None]
ILLEGAL = [pair for pair, follows in EXPECTED.items() if follows is None]


def test_the_expectations_cover_every_state_and_every_input():
    assert set(EXPECTED) == set(itertools.product(State, Input))


@pytest.mark.parametrize(("state", "happened", "follows"), LEGAL)
def test_an_input_leads_to_the_state_that_follows(state, happened, follows):
    assert advance(state, happened) is follows


@pytest.mark.parametrize(("state", "happened"), ILLEGAL)
def test_an_input_that_cannot_happen_is_an_error_that_names_both(state, happened):
    with pytest.raises(RuntimeError) as caught:
        advance(state, happened)

    assert str(caught.value) == f"{happened.value!r} cannot happen while {state.value}"


def test_every_state_has_a_row():
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reached_from_idle():
    reached = {IDLE}
    for _ in State:
        reached |= {follows for state in reached for follows in TRANSITIONS[state].values()}

    assert reached == set(State)


def test_closed_is_final_and_nothing_else_is():
    assert [state for state in State if not TRANSITIONS[state]] == [CLOSED]


def test_every_state_can_be_closed_except_closed():
    assert [state for state in State if Input.CLOSED in TRANSITIONS[state]] == [IDLE, LISTENING, LOST]


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[CLOSED] = {Input.LISTENED: LISTENING}


# The states of a Listener.

# Written out a second time, too: from the state before the colon to each state that is marked.
LISTENER_EXPECTED = """
                idle  connecting  backing off  listening  lost  closed
idle:            -        x            .           .        .      x
connecting:      x        -            x           x        x      x
backing off:     .        x            -           .        .      x
listening:       .        x            x           -        x      x
lost:            x        x            .           .        -      x
closed:          .        .            .           .        .      -
"""
IN_ORDER = [
    ListenerState.IDLE,
    ListenerState.CONNECTING,
    ListenerState.BACKING_OFF,
    ListenerState.LISTENING,
    ListenerState.LOST,
    ListenerState.CLOSED,
]
MARKS = {
    (state, following): mark
    for state, row in zip(IN_ORDER, LISTENER_EXPECTED.splitlines()[2:], strict=True)
    for following, mark in zip(IN_ORDER, row.partition(":")[2].split(), strict=True)
}


def marked(mark):
    return [pair for pair, each in MARKS.items() if each == mark]


def test_the_expectations_cover_every_two_states_of_a_listener():
    assert set(MARKS) == set(itertools.product(ListenerState, repeat=2))
    assert [line.partition(":")[0] for line in LISTENER_EXPECTED.splitlines()[2:]] == IN_ORDER
    assert (len(marked("x")), len(marked(".")), marked("-")) == (16, 14, [(state, state) for state in IN_ORDER])


@pytest.mark.parametrize(("state", "following"), marked("x"))
def test_a_state_of_a_listener_follows_where_it_may(state, following):
    assert follow(state, following) is following


@pytest.mark.parametrize(("state", "following"), marked("."))
def test_a_state_of_a_listener_that_cannot_follow_is_an_error_that_names_both(state, following):
    with pytest.raises(RuntimeError) as caught:
        follow(state, following)

    assert str(caught.value) == f"{following.value!r} cannot follow on {state.value!r}"


@pytest.mark.parametrize("state", ListenerState)
def test_a_state_of_a_listener_may_follow_on_itself(state):
    assert follow(state, state) is state


@pytest.mark.parametrize("state", ListenerState)
def test_a_state_of_a_listener_is_its_own_text(state):
    assert state == str(state) == f"{state}" == state.value
    assert json.dumps({"state": state}) == f'{{"state": "{state.value}"}}'
    assert ListenerState(state.value) is state


def test_the_texts_of_a_listeners_states_are_these():
    assert list(ListenerState) == ["idle", "connecting", "backing off", "listening", "lost", "closed"]


def test_every_state_of_a_listener_has_a_row():
    assert set(LISTENER_TRANSITIONS) == set(ListenerState)


def test_every_state_of_a_listener_is_reached_from_idle():
    reached = {ListenerState.IDLE}
    for _ in ListenerState:
        reached |= {following for state in reached for following in LISTENER_TRANSITIONS[state]}

    assert reached == set(ListenerState)


def test_closed_is_final_for_a_listener_and_follows_on_every_other_state():
    assert [state for state in ListenerState if not LISTENER_TRANSITIONS[state]] == [ListenerState.CLOSED]
    assert [state for state in ListenerState if ListenerState.CLOSED not in LISTENER_TRANSITIONS[state]] == [
        ListenerState.CLOSED
    ]


def test_the_table_of_a_listener_cannot_be_changed():
    with pytest.raises(TypeError):
        LISTENER_TRANSITIONS[ListenerState.CLOSED] = frozenset({ListenerState.IDLE})
    assert {type(row) for row in LISTENER_TRANSITIONS.values()} == {frozenset}
