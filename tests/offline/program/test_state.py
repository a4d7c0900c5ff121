"""The table of states: every state with every input."""

from __future__ import annotations

import itertools

import pytest

from pgnotify.program.state import TRANSITIONS, Input, State, advance

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
