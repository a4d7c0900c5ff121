"""Which backend fits which object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import warnings

import pytest

from pgnotify import Backend, UnknownBackend, register, registry
from pgnotify.registry import backend_for
from tests.helpers.canned import Canned


def driver_class(package, base=object, **members):
    """A class of a driver that is not installed."""
    return type("Connection", (base,), {"__module__": f"{package}.connections", **members})


@pytest.fixture(autouse=True)
def as_if_new(monkeypatch):
    """Nothing is registered, and entry points are not scanned yet."""
    monkeypatch.setattr(registry, "_registered", {})
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


ABSENT = object()


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """A function that installs a distribution with an entry point, in a directory of the test's own."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution, name, value, source="", metadata=None, group=registry.ENTRY_POINT_GROUP):
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n".encode()
        info = tmp_path / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        if metadata is not ABSENT:
            (info / "METADATA").write_bytes(metadata)
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
        module = value.partition(":")[0]
        if source:
            (tmp_path / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)

    yield install
    registry._entry_points.cache_clear()


@pytest.fixture
def no_such_package():
    """An object that neither a registration nor the built-in table fits: it has the entry points scanned."""
    return driver_class("nosuchpackage")()


WRAPS = """
from pgnotify import Backend

class Wrapped(Backend):
    def __init__(self, connection):
        self.connection = connection

wrap = Wrapped
"""


@pytest.fixture
def scans(monkeypatch):
    """The list of the groups that entry points were asked for."""
    import importlib.metadata

    asked = []
    entry_points = importlib.metadata.entry_points

    def counting(**arguments):
        asked.append(arguments["group"])
        return entry_points(**arguments)

    monkeypatch.setattr(importlib.metadata, "entry_points", counting)
    return asked


def returning(backend):
    """A factory that remembers what it was called with."""

    def factory(connection):
        factory.called_with.append(connection)
        return backend

    factory.called_with = []
    return factory


# register


def test_a_registered_factory_is_called_with_the_connection(backend):
    factory = returning(backend)
    register("mydriver", factory)
    connection = driver_class("mydriver")()

    assert backend_for(connection) is backend

    assert factory.called_with == [connection]


def test_a_second_registration_replaces_the_first(backend):
    register("mydriver", returning(None))
    register("mydriver", returning(backend))

    assert backend_for(driver_class("mydriver")()) is backend


def test_a_subclass_defined_elsewhere_is_known_by_its_base(backend):
    register("mydriver", returning(backend))

    assert backend_for(driver_class("app", driver_class("mydriver"))()) is backend


def test_the_nearest_class_decides(backend):
    register("mydriver", returning(None))
    register("app", returning(backend))

    assert backend_for(driver_class("app", driver_class("mydriver"))()) is backend


def test_a_registration_goes_before_the_built_in_table(backend):
    register("psycopg", returning(backend))

    assert backend_for(driver_class("psycopg")()) is backend


@pytest.mark.parametrize("package", ["my.driver", "my driver", "", "1st"])
def test_what_is_no_top_level_package_cannot_be_registered(package):
    with pytest.raises(ValueError, match=f"package must be the name of a top-level package, not {package!r}"):
        register(package, Canned)


def test_what_cannot_be_called_cannot_be_registered():
    with pytest.raises(TypeError, match="factory must take a connection and return its backend, not None"):
        register("mydriver", None)


def test_a_type_error_of_the_factory_passes_through():
    def refuse(cursor):
        raise TypeError("pass the connection, not a cursor")

    register("mydriver", refuse)

    with pytest.raises(TypeError, match=r"^pass the connection, not a cursor$"):
        backend_for(driver_class("mydriver")())


def test_a_factory_that_returns_no_backend_is_named_with_what_is_lacking():
    class Half:
        def listen(self, channel): ...
        def wait(self, timeout, wakeup=None): ...
        def fetch(self): ...
        def close(self): ...

    register("mydriver", lambda connection: Half())

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("mydriver")())

    text = str(caught.value)
    assert text.startswith("the factory registered for 'mydriver', <function ")
    assert text.endswith("Half, which is not a backend: it lacks unlisten, notify")


def test_a_registered_factory_that_returns_nothing_is_named():
    register("mydriver", print)

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("mydriver")())

    assert str(caught.value) == (
        "the factory registered for 'mydriver', <built-in function print>, returned None, which is not a backend: "
        "it lacks listen, unlisten, wait, fetch, notify, close"
    )


# The built-in table


def test_a_backend_that_inherits_from_the_protocol_is_its_own_backend(backend):
    assert backend_for(backend) is backend


@pytest.mark.parametrize(
    "package", ["pg", "pgdb", "psycopg", "psycopg_pool", "psycopg2", "pg8000", "sqlalchemy", "django"]
)
def test_each_supported_package_is_in_the_table(package, monkeypatch):
    wrapped = Canned()
    module, _, name = registry.BUILT_IN[package].partition(":")
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: lambda connection: wrapped}))

    assert backend_for(driver_class(package)()) is wrapped
    wrapped.release()


# Proxies of tracing libraries


class Proxy:
    """Claims the class of what it wraps, as wrapt's proxies do."""

    def __init__(self, wrapped):
        self.__wrapped__ = wrapped

    @property
    def __class__(self):
        return type(self.__wrapped__)


def test_a_proxy_is_known_by_what_it_wraps(backend):
    factory = returning(backend)
    register("mydriver", factory)
    connection = driver_class("mydriver")()

    assert backend_for(Proxy(connection)) is backend

    assert factory.called_with == [connection]


def test_a_backend_for_the_proxy_itself_goes_first(backend):
    register("mydriver", returning(None))
    register(Proxy.__module__.partition(".")[0], returning(backend))

    assert backend_for(Proxy(driver_class("mydriver")())) is backend


def test_a_mock_that_wraps_nothing_is_passed_itself(backend):
    factory = returning(backend)
    register("mydriver", factory)
    claimed = driver_class("mydriver")
    mock = type("Mock", (), {"__class__": property(lambda self: claimed)})()

    backend_for(mock)

    assert factory.called_with == [mock]


# Entry points


def test_an_entry_point_is_found_by_the_package(plug_in):
    plug_in("pgnotify-mydriver", "mydriver", "plug_in_one:wrap", WRAPS)
    connection = driver_class("mydriver")()

    backend = backend_for(connection)

    assert isinstance(backend, Backend)
    assert backend.connection is connection


def test_a_registration_goes_before_an_entry_point(plug_in, backend):
    plug_in("pgnotify-mydriver", "mydriver", "plug_in_one:wrap", WRAPS)
    register("mydriver", returning(backend))

    assert backend_for(driver_class("mydriver")()) is backend


def test_the_built_in_table_goes_before_an_entry_point(plug_in, backend, monkeypatch):
    plug_in("pgnotify-other", "pgnotify", "plug_in_one:wrap", WRAPS)

    assert backend_for(backend) is backend


def test_entry_points_are_not_scanned_for_what_is_registered_or_built_in(scans, backend):
    register("mydriver", returning(backend))

    backend_for(driver_class("mydriver")())
    backend_for(backend)

    assert scans == []


def test_entry_points_are_not_scanned_for_a_proxy_of_what_is_registered(scans, backend):
    register("mydriver", returning(backend))

    backend_for(Proxy(driver_class("mydriver")()))

    assert scans == []


def test_entry_points_are_scanned_once(scans, plug_in):
    plug_in("pgnotify-mydriver", "mydriver", "plug_in_one:wrap", WRAPS)

    for _ in range(3):
        backend_for(driver_class("mydriver")())
    with pytest.raises(UnknownBackend):
        backend_for(object())

    assert scans == ["pgnotify.backends"]


def test_two_distributions_that_claim_one_package_are_both_named(plug_in):
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)
    plug_in("two", "mydriver", "plug_in_two:wrap", WRAPS)

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("mydriver")())

    text = str(caught.value)
    assert text.startswith("2 distributions claim the backend for 'mydriver': ")
    assert "one 1.5 (plug_in_one:wrap)" in text
    assert "two 1.5 (plug_in_two:wrap)" in text
    assert text.endswith("uninstall all except one, or call pgnotify.register()")


def test_registering_decides_between_two_that_claim_one_package(plug_in, backend):
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)
    plug_in("two", "mydriver", "plug_in_two:wrap", WRAPS)
    register("mydriver", returning(backend))

    assert backend_for(driver_class("mydriver")()) is backend


def test_a_path_that_is_searched_twice_is_no_second_claim(plug_in, tmp_path, monkeypatch):
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)
    monkeypatch.syspath_prepend(str(tmp_path) + "/.")

    assert isinstance(backend_for(driver_class("mydriver")()), Backend)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_module_that_is_not_there", ModuleNotFoundError),
        ("1 / 0", ZeroDivisionError),
        ("no Python", SyntaxError),
        ("wrong_name = None", AttributeError),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_is_named_with_its_cause(plug_in, source, cause):
    plug_in("one", "mydriver", "plug_in_bad:wrap", source)

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("mydriver")())

    assert str(caught.value).startswith(
        f"the backend for 'mydriver' from one 1.5 (plug_in_bad:wrap) cannot be loaded: {cause.__name__}: "
    )
    assert isinstance(caught.value.__cause__, cause)


def test_a_plug_in_that_cannot_be_loaded_hurts_no_other(plug_in):
    plug_in("bad", "baddriver", "plug_in_bad:wrap", "1 / 0")
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)

    assert isinstance(backend_for(driver_class("mydriver")()), Backend)


def test_a_plug_in_that_is_no_factory_is_named(plug_in):
    plug_in("one", "mydriver", "plug_in_odd:wrap", "wrap = 5")

    with pytest.raises(UnknownBackend, match=r"'mydriver' from one 1\.5 \(plug_in_odd:wrap\) is not a factory: 5$"):
        backend_for(driver_class("mydriver")())


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("None", "None, which is not a backend: it lacks listen, unlisten, wait, fetch, notify, close"),
        ("connection", "a mydriver.connections.Connection, which is not a backend: it lacks wait, notify, close"),
    ],
)
def test_a_plug_in_that_returns_no_backend_is_named_with_its_version(plug_in, returned, told):
    plug_in("one", "mydriver", "plug_in_odd:wrap", f"def wrap(connection): return {returned}")
    connection = driver_class("mydriver", listen=print, unlisten=print, fetch=print)()

    with pytest.raises(UnknownBackend) as caught:
        backend_for(connection)

    assert str(caught.value) == f"the backend for 'mydriver' from one 1.5 (plug_in_odd:wrap) returned {told}"


@pytest.mark.parametrize("error", ["TypeError", "ConnectionError", "KeyError"])
def test_what_the_factory_of_a_plug_in_raises_passes_through(plug_in, error):
    plug_in("one", "mydriver", "plug_in_odd:wrap", f"def wrap(connection): raise {error}('as it was')")

    with pytest.raises(Exception, match="as it was") as caught:
        backend_for(driver_class("mydriver")())

    assert type(caught.value).__name__ == error


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        (b"Name: one\n", "one of unknown version"),
        (b"Version: 2\n", "a nameless distribution in {} 2"),
        (b"", "a nameless distribution in {} of unknown version"),
        (b"\xff\xfe", "a nameless distribution in {}"),
        (ABSENT, "a nameless distribution in {}"),
    ],
)
def test_a_plug_in_with_broken_metadata_is_named_as_far_as_can_be(plug_in, tmp_path, metadata, origin):
    plug_in("one", "mydriver", "plug_in_bad:wrap", "1 / 0", metadata)

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("mydriver")())

    assert str(caught.value).startswith(f"the backend for 'mydriver' from {origin.format(tmp_path)}")
    assert "(plug_in_bad:wrap) cannot be loaded: ZeroDivisionError: " in str(caught.value)


# Entry points that are never used

NEVER_USED = [
    ("psycopg", "the built-in backend takes precedence. To replace it, call pgnotify.register('psycopg', …)"),
    ("pgnotify", "the built-in backend takes precedence. To replace it, call pgnotify.register('pgnotify', …)"),
    ("my.driver", "'my.driver' is not a top-level package. Name it after the one of the connection's class"),
    ("my-driver", "'my-driver' is not a top-level package. Name it after the one of the connection's class"),
]


@pytest.mark.parametrize(("name", "obstacle"), NEVER_USED)
def test_an_entry_point_that_can_never_be_used_is_warned_of_once(plug_in, no_such_package, name, obstacle):
    plug_in("hopeful", name, "plug_in_one:wrap", WRAPS)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(3):
            with pytest.raises(UnknownBackend):
                backend_for(no_such_package)

    assert [each.category for each in warned] == [UserWarning]
    assert [str(each.message) for each in warned] == [
        f"the backend for {name!r} from hopeful 1.5 (plug_in_one:wrap) is never used: {obstacle}"
    ]


@pytest.mark.parametrize(("name", "obstacle"), NEVER_USED)
def test_nothing_fits_tells_of_an_entry_point_that_can_never_be_used(plug_in, no_such_package, name, obstacle):
    plug_in("hopeful", name, "plug_in_one:wrap", WRAPS)

    with pytest.warns(UserWarning, match="is never used"), pytest.raises(UnknownBackend) as caught:
        backend_for(no_such_package)

    text = str(caught.value)
    assert text.endswith(
        "or register a backend with pgnotify.register(). "
        f"Note: the backend for {name!r} from hopeful 1.5 (plug_in_one:wrap) is never used: {obstacle}"
    )
    assert name in registry.BUILT_IN or f", {name}" not in text.partition("Known packages: ")[2].partition(". ")[0]


def test_an_entry_point_that_can_never_be_used_hurts_no_other(plug_in):
    plug_in("hopeful", "psycopg", "plug_in_bad:wrap", "1 / 0")
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)

    with pytest.warns(UserWarning, match="'psycopg' from hopeful"):
        assert isinstance(backend_for(driver_class("mydriver")()), Backend)


@pytest.mark.parametrize("text", [b"[pgnotify.backends]\nno equals sign\n", b"[console_scripts]\njunk\n", b"\xff\xfe"])
def test_entry_points_that_cannot_be_read_hurt_no_other_distribution(plug_in, tmp_path, text):
    plug_in("damaged", "baddriver", "plug_in_one:wrap")
    (tmp_path / "damaged-1.5.dist-info" / "entry_points.txt").write_bytes(text)
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)

    with pytest.warns(UserWarning, match=r"^the entry points of damaged 1\.5 cannot be read: \w+Error\("):
        assert isinstance(backend_for(driver_class("mydriver")()), Backend)


def test_where_entry_points_cannot_be_read_a_path_that_is_searched_twice_is_no_second_claim(
    plug_in, tmp_path, monkeypatch
):
    plug_in("damaged", "baddriver", "no equals sign in the next line\nhere")
    plug_in("one", "mydriver", "plug_in_one:wrap", WRAPS)
    monkeypatch.syspath_prepend(str(tmp_path) + "/.")

    with pytest.warns(UserWarning, match=r"damaged 1\.5 cannot be read"):
        assert isinstance(backend_for(driver_class("mydriver")()), Backend)


# All at once, in an interpreter that has only just begun

ALL_AT_ONCE = """
import json, sys, warnings
import pgnotify

warnings.simplefilter("ignore")  # what can never be used
said = {}
for package in ["unknown", "raises", "exists_not", "no_factory", "claimed_twice", "returns_none", "good", "mine"]:
    connection = type("Connection", (), {"__module__": package})()
    if package == "mine":
        from plug_in_good import wrap
        pgnotify.register("mine", wrap)
    try:
        said[package] = type(pgnotify.wrap(connection).backend).__name__
    except pgnotify.UnknownBackend as error:
        said[package] = str(error)
json.dump(said, sys.stdout)
"""


def test_a_good_plug_in_and_a_registered_factory_work_beside_all_kinds_of_broken_ones(plug_in, tmp_path):
    plug_in("d-raises", "raises", "plug_in_raises:wrap", "raise RuntimeError('no licence')")
    plug_in("d-exists-not", "exists_not", "plug_in_without:wrap", "rap = None")
    plug_in("d-no-factory", "no_factory", "plug_in_five:wrap", "wrap = 5")
    plug_in("d-first", "claimed_twice", "plug_in_good:wrap")
    plug_in("d-second", "claimed_twice", "plug_in_better:wrap")
    plug_in("d-none", "returns_none", "plug_in_none:wrap", "def wrap(connection): pass")
    plug_in("d-hopeful", "psycopg", "plug_in_raises:wrap")
    plug_in("d-dotted", "a.b", "plug_in_raises:wrap")
    plug_in("d-nameless", "nameless", "plug_in_raises:wrap", metadata=ABSENT)
    plug_in("d-good", "good", "plug_in_good:wrap", WRAPS)

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", ALL_AT_ONCE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["good"], said["mine"]) == ("Wrapped", "Wrapped")
    assert said["raises"].endswith("from d-raises 1.5 (plug_in_raises:wrap) cannot be loaded: RuntimeError: no licence")
    assert "from d-exists-not 1.5 (plug_in_without:wrap) cannot be loaded: AttributeError: " in said["exists_not"]
    assert said["no_factory"].endswith("from d-no-factory 1.5 (plug_in_five:wrap) is not a factory: 5")
    assert "d-first 1.5 (plug_in_good:wrap)" in said["claimed_twice"]
    assert "d-second 1.5 (plug_in_better:wrap)" in said["claimed_twice"]
    assert "from d-none 1.5 (plug_in_none:wrap) returned None" in said["returns_none"]
    assert "'psycopg' from d-hopeful 1.5 (plug_in_raises:wrap) is never used: " in said["unknown"]
    assert "'a.b' from d-dotted 1.5 (plug_in_raises:wrap) is never used: " in said["unknown"]


# Nothing fits


def test_nothing_fits_says_what_it_was_what_was_tried_and_what_to_do(plug_in, monkeypatch, backend):
    plug_in("one", "otherdriver", "plug_in_one:wrap", WRAPS)
    register("mydriver", returning(backend))
    monkeypatch.setattr(registry, "is_installed", lambda package: package in ("psycopg2", "pg"))

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("strange")())

    assert str(caught.value) == (
        "no backend fits a strange.connections.Connection. Known packages: mydriver, pgnotify, pg, pgdb, psycopg, "
        "psycopg_pool, psycopg2, pg8000, sqlalchemy, django, otherdriver. Installed drivers: psycopg2, pygresql. "
        'Pass a connection of one of them, for instance after pip install "pgnotify-handler[psycopg]", or register '
        "a backend with pgnotify.register()"
    )


def test_nothing_fits_says_when_no_driver_is_installed(monkeypatch):
    monkeypatch.setattr(registry, "is_installed", lambda package: False)

    with pytest.raises(UnknownBackend, match=r"Installed drivers: none\."):
        backend_for(driver_class("strange")())


@pytest.mark.parametrize("thing", [None, 5, b"postgresql://", object(), print, type])
def test_what_is_no_connection_is_a_type_error(thing):
    with pytest.raises(TypeError, match=r"^no backend fits a "):
        backend_for(thing)


# The drivers to connect with


@pytest.fixture
def installed(monkeypatch):
    """A function that says which drivers are installed; each one's connect function returns its name."""

    def install(*names):
        modules = [registry.DRIVERS[name].module for name in names]
        monkeypatch.setattr(registry, "is_installed", lambda package: package in modules)
        monkeypatch.setattr(registry, "_load", lambda path: path)

    return install


def test_the_first_installed_driver_connects(installed):
    installed("pg8000", "psycopg2")

    assert registry.connect_with(None) == registry.DRIVERS["psycopg2"].connect
    assert registry.installed_drivers() == ["psycopg2", "pg8000"]


def test_the_order_of_preference_is_the_documented_one():
    assert list(registry.DRIVERS) == ["psycopg", "psycopg2", "pg8000", "pygresql"]


@pytest.mark.parametrize(
    ("name", "driver"),
    [("pg8000", "pg8000"), ("PyGreSQL", "pygresql"), ("pg", "pygresql"), ("psycopg3", "psycopg")],
)
def test_a_named_driver_connects_whatever_else_is_installed(installed, name, driver):
    installed(*registry.DRIVERS)

    assert registry.connect_with(name) == registry.DRIVERS[driver].connect


def test_a_driver_that_is_not_installed_is_told_with_the_pip_line(installed):
    installed("psycopg")

    with pytest.raises(
        UnknownBackend, match=r"^driver 'pg8000' is not installed: pip install \"pgnotify-handler\[pg8000"
    ):
        registry.connect_with("pg8000")


def test_no_driver_at_all_is_told_with_the_pip_line(installed):
    installed()

    with pytest.raises(UnknownBackend) as caught:
        registry.connect_with(None)

    assert str(caught.value) == (
        "no driver is installed; looked for psycopg, psycopg2, pg8000, pygresql: "
        'pip install "pgnotify-handler[psycopg]"'
    )


def test_an_unknown_driver_is_told_with_those_there_are(installed):
    with pytest.raises(
        UnknownBackend, match=r"^there is no driver 'oracle' to connect with; the drivers are psycopg, psycopg2"
    ):
        registry.connect_with("oracle")


def test_a_connection_string_in_the_place_of_the_driver_is_not_shown():
    with pytest.raises(UnknownBackend, match="there is no driver of this name") as caught:
        registry.connect_with("postgresql://u:hunter@h")

    assert "hunter" not in str(caught.value)


# The driver that a connection URI names


@pytest.mark.parametrize(
    ("in_uri", "driver", "chosen"),
    [
        (None, None, None),
        (None, "pg8000", "pg8000"),
        ("psycopg2", None, "psycopg2"),
        ("PSYCOPG", None, "psycopg"),
        ("psycopg3", None, "psycopg"),
        ("asyncpg", None, "asyncpg"),
        ("psycopg_async", None, "psycopg_async"),
        ("psycopg", "PsycoPG3", "psycopg"),
        ("pygresql", "pg", "pygresql"),
        ("psycopg", "psycopg_async", "psycopg_async"),  # one driver, of which SQLAlchemy decides by the kind of engine
        ("psycopg_async", "psycopg", "psycopg"),
    ],
)
def test_the_driver_is_the_one_that_is_named(in_uri, driver, chosen):
    assert registry.one_driver(in_uri, driver) == chosen


def test_two_drivers_are_refused_and_both_named():
    with pytest.raises(
        ValueError, match=r"^the connection URI names the driver 'psycopg2', and driver= names 'asyncpg'"
    ):
        registry.one_driver("psycopg2", "asyncpg")


def test_a_driver_in_a_uri_that_there_is_not_is_refused_with_the_remedy():
    with pytest.raises(UnknownBackend) as caught:
        registry.one_driver("psycopg2cffi", "psycopg2")

    assert str(caught.value) == (
        "there is no driver 'psycopg2cffi' to connect with; the drivers are psycopg, psycopg2, pg8000, pygresql, "
        "psycopg_async, asyncpg. Write postgresql:// in place of postgresql+psycopg2cffi:// to have one of them chosen"
    )


CONNECTS = """
def connect(parameters):
    return "blocking", parameters

async def connect_async(parameters):
    return "asynchronous", parameters
"""


def test_a_plug_in_connects_by_its_name(plug_in):
    plug_in("my-driver", "mydriver", "plugged:connect", CONNECTS, group=registry.DRIVER_ENTRY_POINT_GROUP)

    assert registry.one_driver("MyDriver", None) == "mydriver"
    assert registry.connect_with("mydriver")({"host": "h"}) == ("blocking", {"host": "h"})
    connect, is_coroutine_function = registry.connect_async_with("mydriver")
    assert (connect({}), is_coroutine_function) == (("blocking", {}), False)


def test_a_plug_in_that_is_asynchronous_connects_on_event_loops_only(plug_in):
    plug_in("my-driver", "mydriver", "plugged:connect_async", CONNECTS, group=registry.DRIVER_ENTRY_POINT_GROUP)

    assert registry.connect_async_with("mydriver")[1]
    with pytest.raises(UnknownBackend, match=r"^driver 'mydriver' is asynchronous: use pgnotify\.connect_async\(\)"):
        registry.connect_with("mydriver")


def test_two_drivers_of_plug_ins_contradict_each_other(plug_in):
    plug_in("my-driver", "mydriver", "plugged:connect", CONNECTS, group=registry.DRIVER_ENTRY_POINT_GROUP)

    with pytest.raises(ValueError, match="'mydriver', and driver= names 'pg'"):
        registry.one_driver("mydriver", "pg")


def test_an_unknown_driver_is_told_with_those_of_plug_ins(plug_in):
    plug_in("my-driver", "mydriver", "plugged:connect", CONNECTS, group=registry.DRIVER_ENTRY_POINT_GROUP)

    with pytest.raises(UnknownBackend, match=r"the drivers are psycopg, .*, mydriver$"):
        registry.connect_with("oracle")


@pytest.mark.parametrize(
    ("name", "obstacle"),
    [("asyncpg", "the built-in driver takes precedence"), ("my-driver", "no connection URI can have it")],
)
def test_a_driver_of_a_plug_in_that_can_never_be_used_is_warned_of(plug_in, name, obstacle):
    plug_in("my-driver", name, "plugged:connect", CONNECTS, group=registry.DRIVER_ENTRY_POINT_GROUP)

    with pytest.warns(UserWarning, match=obstacle), pytest.raises(UnknownBackend):
        registry.connect_with("oracle")


def test_a_driver_of_a_plug_in_that_cannot_be_loaded_is_named_as_one(plug_in):
    plug_in("my-driver", "mydriver", "plugged:connect", "1 / 0", group=registry.DRIVER_ENTRY_POINT_GROUP)

    with pytest.raises(
        UnknownBackend,
        match=r"^the driver 'mydriver' from my-driver 1\.5 \(plugged:connect\) cannot be loaded: Zero",
    ):
        registry.connect_with("mydriver")


def test_two_drivers_of_one_name_are_both_named(plug_in):
    for distribution in ("my-driver", "other-driver"):
        plug_in(distribution, "mydriver", "plugged:connect", CONNECTS, group=registry.DRIVER_ENTRY_POINT_GROUP)

    with pytest.raises(
        UnknownBackend, match=r"^2 distributions claim the driver 'mydriver': .*my-driver.*; uninstall all except one$"
    ):
        registry.connect_with("mydriver")
