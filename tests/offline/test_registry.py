"""Which backend fits which object."""

from __future__ import annotations

import sys
import types

import pytest

from pgnotify import Backend, UnknownBackend, register, registry
from pgnotify.registry import backend_for
from tests.offline.canned import Canned


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


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """A function that installs a distribution with an entry point."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution, name, value, source=""):
        info = tmp_path / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[pgnotify.backends]\n{name} = {value}\n")
        module = value.partition(":")[0]
        if source:
            (tmp_path / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)

    yield install
    registry._entry_points.cache_clear()


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

    assert str(caught.value).endswith("Half, which is no backend: it lacks unlisten, notify")


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
    assert text.endswith("uninstall all but one, or call pgnotify.register()")


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

    with pytest.raises(UnknownBackend, match=r"'mydriver' from one 1\.5 \(plug_in_odd:wrap\) is no factory: 5$"):
        backend_for(driver_class("mydriver")())


# Nothing fits


def test_nothing_fits_says_what_it_was_what_was_tried_and_what_to_do(plug_in, monkeypatch, backend):
    plug_in("one", "otherdriver", "plug_in_one:wrap", WRAPS)
    register("mydriver", returning(backend))
    monkeypatch.setattr(registry, "_installed", lambda driver: driver.module in ("psycopg2", "pg"))

    with pytest.raises(UnknownBackend) as caught:
        backend_for(driver_class("strange")())

    assert str(caught.value) == (
        "no backend fits a strange.connections.Connection. Known packages: mydriver, pgnotify, pg, pgdb, psycopg, "
        "psycopg_pool, psycopg2, pg8000, sqlalchemy, django, otherdriver. Installed drivers: psycopg2, pygresql. "
        'Pass a connection of one of them, for instance after pip install "pgnotify-handler[psycopg]", or register '
        "a backend with pgnotify.register()"
    )


def test_nothing_fits_says_when_no_driver_is_installed(monkeypatch):
    monkeypatch.setattr(registry, "_installed", lambda driver: False)

    with pytest.raises(UnknownBackend, match=r"Installed drivers: none\."):
        backend_for(driver_class("strange")())


@pytest.mark.parametrize("thing", [None, 5, "postgresql://", object(), print, type])
def test_what_is_no_connection_is_a_type_error(thing):
    with pytest.raises(TypeError, match=r"^no backend fits a "):
        backend_for(thing)


# The drivers to connect with


@pytest.fixture
def installed(monkeypatch):
    """A function that says which drivers are installed; each one's connect function returns its name."""

    def install(*names):
        modules = [registry.DRIVERS[name].module for name in names]
        monkeypatch.setattr(registry, "_installed", lambda driver: driver.module in modules)
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
        UnknownBackend, match=r"^there is no driver 'oracle' to connect with; there are psycopg, psycopg2"
    ):
        registry.connect_with("oracle")
