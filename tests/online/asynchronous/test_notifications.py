"""The collector of notifications where no other driver than an asynchronous one is installed."""

from __future__ import annotations

import pytest

from pgnotify import registry

pytest_plugins = ["pytester"]


@pytest.fixture
def installed(monkeypatch, address):
    """A function that pretends that only this package is installed."""
    monkeypatch.setenv("PGNOTIFY_TEST_DSN", address.dsn)
    return lambda package: monkeypatch.setattr(registry, "is_installed", lambda each: each == package)


def test_the_fixture_listens_with_an_asynchronous_driver_where_there_is_no_other(pytester, installed):
    installed("asyncpg")
    pytester.makepyfile(
        """
        import asyncio
        import pgnotify
        import pytest

        def test_it(notifications, postgresql_server):
            notifications.listen("orders")

            async def send():
                connection = await pgnotify.connect_async(postgresql_server.dsn)
                await connection.notify("orders", "42")
                await connection.close()

            asyncio.run(send())
            notifications.expect("orders", "42")
            notifications.expect_none()

        def test_that_fails(notifications):
            notifications.listen("orders")
            notifications.expect("orders", within=0)
        """
    )

    result = pytester.runpytest_inprocess("-p", "pgnotify.testing.plugin", "-p", "no:cacheprovider", "-W", "error")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*no notification on 'orders' arrived within 0 s*"])
