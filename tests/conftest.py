"""What all tests share: the server, the kinds of connection, and a header that says what is tested."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.helpers import lacking  # isort: skip # the first of ours: it may take away what we ask for

from pgnotify.registry import DRIVERS
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session
from tests import kinds
from tests.helpers import handler_fronts, listener_fronts
from tests.helpers.async_front import LoopThread
from tests.helpers.native import NativeConnection
from tests.helpers.user import User
from tests.kinds import Address, Kind

pytest_plugins = ["pgnotify.testing.plugin"]

LACKING = pytest.StashKey[str]()
"""Why a test cannot be run on this system."""


def pytest_configure() -> None:
    """Have Ctrl-C interrupt a run in the background, too: a shell may start it with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Say what is tested, and why what is not is not."""
    lines = [f"kinds of connection: {', '.join(kind.name for kind in kinds.selected()) or 'none'}"]
    lines += [f"not tested: {kind.name}: {kind.absent}" for kind in kinds.KINDS if kind.absent]
    return [*lines, f"drivers: {', '.join(_versions()) or 'none'}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for drivers that are not tested here, and what `tests.helpers.listener_fronts` leaves out."""
    tested = {name for kind in kinds.selected() for name in (kind.name, kind.driver)}
    left_out = [
        item
        for item in items
        if ((named := item.get_closest_marker("drivers")) and not tested & {*named.args})
        or not listener_fronts.is_wanted(item)
        or _has_no_parameters(item)
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Skip a module that imports something that the system lacks."""
    report = yield
    if report.failed and (why := lacking.reason(report.call.excinfo.value)):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, why)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Take a skip for a failure in CI: what is tested there must be there. But for what cannot be tested at all."""
    report = yield
    if report.failed and call.excinfo and (why := item.stash.get(LACKING, None) or lacking.reason(call.excinfo.value)):
        item.stash[LACKING] = why  # also for a fixture that then finds something left open
        report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1] or 0, why)
    if report.skipped and os.environ.get("CI") == "true" and "not applicable: " not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes a ``kind`` or a ``driver`` on each of them.

    Of the kinds, on those that its marker names, or whose driver it names. A driver that is not tested here is
    deselected by its mark. Of the fronts of the documented handler, on those of `handler_fronts.fronts_of`.
    """
    names = metafunc.fixturenames
    if "kind" in names:
        marker = metafunc.definition.get_closest_marker("drivers")
        chosen = [kind for kind in kinds.selected() if marker is None or {kind.driver, kind.name} & {*marker.args}]
        if "handler_front" in names:
            pairs = [(kind, front) for kind in chosen for front in handler_fronts.fronts_of(metafunc.definition, kind)]
            ids = [f"{kind.name}-{front}" for kind, front in pairs]
            metafunc.parametrize(("kind", "handler_front"), pairs, ids=ids, indirect=True)
        else:
            chosen = [kind for kind in chosen if kind not in kinds.NATIVE]
            metafunc.parametrize("kind", chosen, ids=[kind.name for kind in chosen], indirect=True)
    elif "handler_front" in names:
        metafunc.parametrize("handler_front", handler_fronts.fronts_of(metafunc.definition), indirect=True)
    has_its_own = any("driver" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    listener_fronts.parametrize(metafunc)
    if "driver" in metafunc.fixturenames and not has_its_own:
        metafunc.parametrize("driver", [pytest.param(name, marks=pytest.mark.drivers(name)) for name in DRIVERS])


def _has_no_parameters(item: pytest.Item) -> bool:
    """Whether a test runs on none of these kinds of connection, or on no front for them."""
    skipped = item.get_closest_marker("skip")
    return skipped is not None and "got empty parameter set for (kind" in str(skipped.kwargs)


@pytest.fixture
def handler_front(request: pytest.FixtureRequest) -> Iterator[handler_fronts.BlockingFront | handler_fronts.AsyncFront]:
    """A front of the documented handler."""
    with handler_fronts.opened(request.param) as opened:
        yield opened


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """A kind of connection; a required one that is absent is an error."""
    chosen: Kind = request.param
    if chosen.absent is not None:
        pytest.fail(f"{chosen.name} is required here, but {chosen.absent}")
    return chosen


@pytest.fixture(autouse=True)
def front(request: pytest.FixtureRequest) -> Iterator[str]:
    """The front that `tests.helpers.listener_fronts.Listener` makes listeners of. No task may be left at the end."""
    name = getattr(request, "param", "blocking")
    if name == "blocking":
        yield name
        return
    thread = LoopThread()
    listener_fronts.use(thread)
    try:
        yield name
    finally:
        listener_fronts.use(None)
        faults = thread.close()
    assert faults == []


@pytest.fixture(scope="session")
def address(postgresql_server: Any) -> Address:
    """Where the server listens, and as whom to connect."""
    return postgresql_server.address


@pytest.fixture
def connect(kind: Kind, address: Address, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """A function that opens connections of the kind, to another address if one is given; they are closed at the end."""
    opened: list[Any] = []

    def open_one(to: Address = address) -> Any:
        if kind in kinds.NATIVE:
            return NativeConnection(request.getfixturevalue("handler_front"), kind, to)
        opened.append(kind.connect(to))
        return opened[-1]

    yield open_one
    for connection in opened:
        with suppress(Exception):  # closed by the test, or broken by it
            connection.close()


@pytest.fixture
def db(connect: Callable[..., Any]) -> Any:
    """A connection of the kind."""
    return connect()


@pytest.fixture
def user(kind: Kind, db: Any) -> User:
    """Who has the connection, and uses it for other things too."""
    return User(kind, db)


@pytest.fixture
def proxy(address: Address) -> Iterator[Proxy]:
    """A proxy in front of the server: connect to ``address._replace(host=proxy.host, port=proxy.port)``."""
    with Proxy(address.host, address.port) as opened:
        yield opened


@pytest.fixture
def session(address: Address) -> Iterator[Session]:
    """A second session, which depends on no driver: it sends, looks around, and terminates."""
    with Session(*address) as opened:
        yield opened


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses, with all that needs quoting in its name."""
    return f'Ü"{uuid.uuid4().hex[:12]} %s :x $1 ?'


def _versions() -> Iterator[str]:
    for name in kinds.DISTRIBUTIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"
