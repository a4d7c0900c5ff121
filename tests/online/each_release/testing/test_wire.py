"""The test client itself, and the kinds."""


def test_the_wire_client_sees_what_it_sends(session):
    assert session.sql("SELECT 1, NULL, 'a''b'") == [("1", None, "a'b")]


def test_each_kind_opens_a_connection_to_the_server(db):
    assert db is not None
