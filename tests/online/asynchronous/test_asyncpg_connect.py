"""Connecting with asyncpg, by libpq's keywords."""

from __future__ import annotations

import asyncio
import socket

import asyncpg as driver
import pytest

from pgnotify.backends.asyncpg import connect
from pgnotify.connecting.retryable import is_permanent
from tests.online.asynchronous.native import backend_of, parameters_of


async def _shown(connection, setting):
    return await connection.fetchval(f"SHOW {setting}")


async def test_settings_of_the_session(asyncpg):
    connection = await asyncpg.connect(
        fallback_application_name="ours", options="-c statement_timeout=7s", keepalives_idle="5"
    )
    named = await asyncpg.connect(application_name="mine", fallback_application_name="ours", client_encoding="utf8")

    assert await _shown(connection, "application_name") == "ours"
    assert await _shown(connection, "statement_timeout") == "7s"
    assert await _shown(named, "application_name") == "mine"
    with socket.socket(fileno=socket.dup(backend_of(connection).fileno())) as plug:
        assert plug.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5


async def test_hosts_are_tried_in_turn(asyncpg, address):
    connection = await asyncpg.connect(host=f"nowhere.invalid,{address.host}", connect_timeout="5")
    by_number = await asyncpg.connect(host="nowhere.invalid", hostaddr=address.host)

    assert [await each.fetchval("SELECT 1") for each in (connection, by_number)] == [1, 1]


async def test_the_session_that_is_wanted(asyncpg, address):
    with pytest.raises(driver.InterfaceError, match="is not standby, as target_session_attrs requires"):
        await asyncpg.connect(target_session_attrs="standby")
    for wanted in ("primary", "read-write", "prefer-standby"):
        connection = await asyncpg.connect(target_session_attrs=wanted)
        assert await connection.fetchval("SELECT pg_catalog.pg_is_in_recovery()") is False


async def test_a_unix_socket(asyncpg, session):
    ((directories,),) = session.sql("SHOW unix_socket_directories")
    if not directories:
        pytest.skip("not applicable: the server has no Unix socket")
    connection = await asyncpg.connect(host=directories.split(",")[0])

    assert connection._transport.get_extra_info("socket").family == socket.AF_UNIX


async def test_the_password_of_a_file(asyncpg, address, tmp_path):
    path = tmp_path / "pass"
    path.write_text(f"{address.host}:*:*:{address.user}:{address.password}\n")
    path.chmod(0o600)

    connection = await asyncpg.connect(password="", passfile=str(path))

    assert await connection.fetchval("SELECT 1") == 1


async def test_a_wrong_password_is_permanent(asyncpg):
    with pytest.raises(driver.PostgresError) as refused:
        await asyncpg.connect(password="wrong")

    assert is_permanent(refused.value, at_start=True)


async def test_a_server_that_is_not_there_or_does_not_answer_may_come_back(asyncpg, address, proxy):
    proxy.freeze()
    for parameters in ({"port": "1"}, {"host": proxy.host, "port": str(proxy.port), "connect_timeout": "1"}):
        with pytest.raises(driver.InterfaceError) as failed:
            await asyncpg.connect(**parameters)
        assert not is_permanent(failed.value, at_start=True)

    assert "has not answered within the connect_timeout of 1 s" in str(failed.value)


async def test_a_connect_that_is_cancelled_leaves_nothing(asyncpg, proxy, address):
    proxy.freeze()
    attempt = asyncio.ensure_future(asyncpg.connect(address._replace(host=proxy.host, port=proxy.port)))
    await asyncio.sleep(0.01)

    attempt.cancel()

    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("require_auth", "scram-sha-256", "asyncpg cannot express the connection parameter 'require_auth'"),
        ("replication", "database", "asyncpg cannot express the connection parameter 'replication'"),
        ("gssencmode", "require", "asyncpg cannot express gssencmode='require', only disable or prefer"),
        ("client_encoding", "LATIN1", "asyncpg cannot express client_encoding='LATIN1'"),
        ("sslmode", "maybe", "sslmode must be one of disable, allow"),
        ("host", "@abstract", "asyncpg cannot express a Unix socket in the abstract namespace"),
        ("service", "none of ours", 'definition of service "none of ours" not found'),
        ("sslcert", "/nowhere.crt", "sslcert: there is no file"),
    ],
)
async def test_what_asyncpg_cannot_express_is_refused(address, keyword, value, reason):
    with pytest.raises(ValueError, match=reason):
        await connect(parameters_of(address) | {keyword: value})
