"""Other accounts of the machine: they cannot have a temporary PostgreSQL change files that are not theirs."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgnotify.testing import (
    ServerFailed,
    TemporaryPostgreSQL,
    _guard,
    _guard_client,
)
from pgnotify.testing._guard_client import GuardProcess
from pgnotify.testing._programs import text_of
from tests.helpers.accounts import (
    NOBODY,
    ROOT_ONLY,
    STRANGER,
    as_account,
    found_programs,
    skip_if_private,
    without_namespaces,
)

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="not applicable: there is no /proc")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # threads of other tests


@pytest.fixture(scope="module")
def programs() -> Path:
    return found_programs()


@pytest.fixture
def guard(programs: Path) -> Iterator[GuardProcess]:
    """A guard whose programs run as another account: as us, if we are not root."""
    skip_if_private(programs)
    with without_namespaces():
        made = GuardProcess(programs / "postgres")
    yield made
    made.close(made.run_directory / "data")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory with a file that belongs to us, and that must stay as it is."""
    directory = tmp_path / "victim"
    directory.mkdir()
    (directory / "file").write_text("ours")
    return directory


def unharmed(victim: Path) -> bool:
    facts = (victim / "file").stat()
    return (victim / "file").read_text() == "ours" and facts.st_uid == os.geteuid()


@ROOT_ONLY
def test_the_account_of_the_server_can_change_nothing_where_root_writes(guard: GuardProcess, victim: Path) -> None:
    guard.wait(guard.run("server.log", "/bin/echo", "said"), 20)
    guard.put("pg_hba.conf", b"local all all trust\n")
    directory, log, target = guard.directory, guard.directory / "server.log", victim / "file"

    attempts: list[Callable[[], object]] = [
        lambda: os.symlink(target, directory / "next.log"),
        lambda: os.unlink(log),
        lambda: os.rename(log, directory / "other"),
        lambda: os.rename(directory, f"{directory}.moved"),
        lambda: os.rename(directory / "run", directory / "other"),
        lambda: os.unlink(directory / "pg_hba.conf"),
        lambda: os.listdir(directory),
        lambda: os.open(log, os.O_WRONLY),
        lambda: os.open(log, os.O_RDONLY),
    ]

    for attempt in attempts:
        assert as_account(NOBODY, attempt).startswith("PermissionError")
    assert as_account(NOBODY, lambda: os.listdir(directory / "run")) == "[]"  # this one it may have
    facts = [directory.stat(), log.stat(), guard.run_directory.stat(), (directory / "pg_hba.conf").stat()]
    assert [(each.st_uid, stat.S_IMODE(each.st_mode)) for each in facts] == [
        (0, 0o710),
        (0, 0o600),
        (NOBODY, 0o700),
        (NOBODY, 0o600),
    ]


def test_no_link_is_followed_where_a_log_or_a_file_is_to_be_made(guard: GuardProcess, victim: Path) -> None:
    for name in ("server.log", "pg_hba.conf"):
        (guard.directory / name).symlink_to(victim / "file")

    assert guard.wait(guard.run("server.log", "/bin/echo", "said"), 20) == 127
    with pytest.raises(FileExistsError):
        guard.put("pg_hba.conf", b"local all all trust\n")

    assert unharmed(victim)
    assert guard.log("server.log") == ""


def test_a_name_that_is_taken_is_not_used(victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pgnotify-00000000").symlink_to(victim)
    (tmp_path / "pgnotify-01010101").mkdir(mode=0o777)
    guesses = iter([bytes(4), b"\1" * 4, b"\2" * 4])
    monkeypatch.setattr(os, "urandom", lambda count: next(guesses))

    assert _guard.make_directory(str(tmp_path)) == str(tmp_path / "pgnotify-02020202")


def test_a_link_among_the_files_is_removed_and_not_its_target(programs: Path, victim: Path) -> None:
    with TemporaryPostgreSQL(programs) as server:
        directory = server.socket_directory.parent
        (server.data_directory / "inside").mkdir()
        (server.data_directory / "inside" / "link").symlink_to(victim)
        (server.socket_directory / "link").symlink_to(victim / "file")

    assert not directory.exists()
    assert unharmed(victim)


def test_a_directory_that_becomes_a_link_while_it_is_removed_leads_nowhere(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "inner").mkdir(parents=True)
    (doomed / "inner" / "file").touch()
    really_open = os.open

    def swap_and_open(path: str, flags: int, *rest: int, **options: int) -> int:
        if path == "inner" and not (doomed / "inner").is_symlink():
            shutil.rmtree(doomed / "inner")
            (doomed / "inner").symlink_to(victim)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", swap_and_open)
    _guard.remove_tree(str(doomed))

    assert not doomed.exists()
    assert unharmed(victim)


@pytest.mark.parametrize("depth", [1, 20])
def test_a_tree_is_removed(tmp_path: Path, depth: int) -> None:
    leaf = tmp_path.joinpath("doomed", *["inner"] * depth)
    leaf.mkdir(parents=True)
    (leaf / "file").touch()

    _guard.remove_tree(str(tmp_path / "doomed"))

    assert list(tmp_path.iterdir()) == []


def test_what_is_neither_a_file_nor_ours_is_not_read(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "link").symlink_to(victim / "file")
    os.mkfifo(tmp_path / "pipe")

    assert [text_of(tmp_path / name) for name in ("link", "pipe", "absent")] == ["", "", ""]
    assert text_of(victim / "file") == "ours"


@ROOT_ONLY
@LINUX_ONLY
def test_shared_memory_is_removed_only_if_it_is_of_the_account_of_the_server(guard: GuardProcess) -> None:
    segment = ctypes.CDLL(None).shmget(0, 4096, 0o600 | 0o1000)  # IPC_PRIVATE, IPC_CREAT
    try:
        assert f" {segment} " in Path("/proc/sysvipc/shm").read_text()
        pid_file = guard.run_directory / "data" / "postmaster.pid"

        def lie() -> None:
            pid_file.parent.mkdir()
            pid_file.write_text("1\n" * 6 + f"0 {segment}\n")

        assert as_account(NOBODY, lie) == "None"
        guard.close(guard.run_directory / "data")

        assert f" {segment} " in Path("/proc/sysvipc/shm").read_text()
    finally:
        ctypes.CDLL(None).shmctl(segment, _guard.IPC_RMID, None)


def test_a_process_is_not_ended_because_a_file_names_it(guard: GuardProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "LINUX", False)  # where the kernel does not end the server itself
    monkeypatch.setattr(_guard_client, "ORPHAN_SECONDS", 0.1)
    data = guard.run_directory / "data"
    data.mkdir()
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as other:
        (data / "postmaster.pid").write_text(f"{other.pid}\n")
        os.kill(guard._process.pid, signal.SIGKILL)

        guard.close(data)

        assert other.poll() is None
        other.communicate()
    assert other.returncode == 0
    assert not guard.directory.exists()


# The place of it all.


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: a socket must fit in."""
    with tempfile.TemporaryDirectory(dir=os.path.realpath("/tmp")) as directory:
        (Path(directory) / "outer" / "mine").mkdir(parents=True)
        yield Path(directory) / "outer"


def bases(*directories: Path) -> list[str]:
    """Return where servers are made if these are the directory for temporary files."""
    found = []
    for directory in directories:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(tempfile, "tempdir", str(directory))
            found.append(_guard_client._base_directory())
    return found


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_directory_in_which_others_can_rename_is_not_used(place: Path, mode: int) -> None:
    place.chmod(mode)

    assert bases(place, place / "mine") == ["/tmp", "/tmp"]


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o700])
def test_a_directory_in_which_others_cannot_rename_is_used(place: Path, mode: int) -> None:
    place.chmod(mode)

    assert bases(place, place / "mine") == [str(place), str(place / "mine")]


@ROOT_ONLY
def test_a_directory_of_another_account_is_not_used(place: Path) -> None:
    os.chown(place, STRANGER, STRANGER)

    assert bases(place, place / "mine") == ["/tmp", "/tmp"]


def test_a_link_is_judged_by_the_directory_that_it_leads_to(place: Path) -> None:
    place.chmod(0o777)
    (place.parent / "link").symlink_to(place)

    assert bases(place.parent / "link") == ["/tmp"]


def test_where_there_is_no_safe_directory_the_error_says_so(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/")
    monkeypatch.setattr(_guard_client, "_open_to_others", lambda directory: Path("/there"))

    with pytest.raises(ServerFailed, match=r"in /, because of /there or in /tmp, because of /there; set TM"):
        TemporaryPostgreSQL(programs).start()
