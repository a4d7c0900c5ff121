"""The fixtures in tests that are coroutines: with pytest-asyncio, with anyio's plugin, and with neither."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "pgnotify.testing.plugin", "-p", "no:cacheprovider", "-W", "error")
PYTEST_ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "testing.md").read_text()

CONFTEST = """
    import pytest

    @pytest.fixture
    def notifications_connection(memory_server):
        return memory_server.connect()

    @pytest.fixture
    def anyio_backend():
        return "asyncio"
"""
TESTS = """
    import asyncio
    import pytest
    from pgnotify.aio.listener import AsyncListener

    {mark}
    async def test_the_loop_goes_on_while_a_notification_is_expected(async_notifications, memory_server):
        connection = await memory_server.connect_async()
        await async_notifications.listen("orders")
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(connection.notify("orders", "42")))

        arrived = await async_notifications.expect("orders", "42", within=3600)

        await async_notifications.expect_none("orders")
        assert async_notifications.received == [arrived]
        await connection.close()

    {mark}
    async def test_a_listener_of_ours(memory_server):
        async with AsyncListener(memory_server.connect_async, "cache") as listener:
            memory_server.connect().notify("cache", "there")
            async for notification in listener:
                assert notification.payload == "there"
                break

    {mark}
    async def test_the_failure_shows_this_line(async_notifications):
        await async_notifications.listen("orders")
        await async_notifications.expect("orders", "42", within=0)

    def test_that_is_none(notifications, memory_server):
        notifications.listen("orders")
        memory_server.connect().notify("orders")
        notifications.expect("orders")
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the pytest runs inside this one from importing plugins that they do not use."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize(
    ("module", "arguments", "mark"),
    [
        pytest.param("pytest_asyncio", (*PYTEST_ASYNCIO, "--asyncio-mode=strict"), "@pytest.mark.asyncio", id="strict"),
        pytest.param("pytest_asyncio", (*PYTEST_ASYNCIO, "--asyncio-mode=auto"), "", id="auto"),
        pytest.param("anyio", ("-p", "anyio.pytest_plugin"), "@pytest.mark.anyio", id="anyio"),
    ],
)
def test_they_work_in_the_coroutines_of_a_plugin(
    pytester: pytest.Pytester, module: str, arguments: tuple[str, ...], mark: str
) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS.format(mark=mark))

    result = pytester.runpytest_subprocess(*PLUGIN, *arguments)

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            '>*await async_notifications.expect("orders", "42", within=0)',
            "E*no notification on 'orders' with payload '42' arrived within 0 s; nothing was received",
        ]
    )
    result.stdout.no_fnmatch_line("*async_notifications.py:*")


def test_without_such_a_plugin_they_are_fixtures_as_others(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import asyncio

        def test_it(async_notifications, memory_server):
            async def main():
                await async_notifications.listen("orders")
                memory_server.connect().notify("orders", "42")
                await async_notifications.expect("orders", "42")
                assert "orders" in repr(async_notifications)

            asyncio.run(main())
        """
    )

    result = pytester.runpytest_subprocess(*PLUGIN)

    result.assert_outcomes(passed=1)
