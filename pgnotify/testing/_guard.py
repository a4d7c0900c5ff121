"""The process between a test run and its PostgreSQL: it outlives the run and cleans up after it.

It is run as a script (`python -I -S _guard.py BASE POSTGRES`), so it may import only the standard
library, and little of it. It makes one private directory under BASE, starts programs on request and
reports how they ended. It decides nothing: the launcher says which programs run, in which order and
for how long.

The directory and the logs in it belong to us. Its subdirectory "run" belongs to the programs: as root, they may have to
run as another account. Nothing in "run" is opened by us to be written, no link is followed there, and all that is
removed is removed by descriptor, so that this account cannot have root write, truncate or remove anything.

When standard input ends, the launcher is gone, for whatever reason: the kernel closes a pipe even
after SIGKILL. This process then ends every program and removes the directory. If this process is
killed itself, Linux ends its programs (parent-death signal); other systems do not.

One request per line, a JSON array; one JSON reply each, `{"error": text}` if it failed:

    ["run", LOG, PROGRAM, ARGUMENT...]   starts it, its output appended to the file LOG in the directory -> process id
    ["poll", PID]                        -> exit code (negative: a signal), null while it runs
    ["signal", PID, NUMBER]              -> null
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

QUIT_SECONDS = 0.7  # an immediate shutdown takes some 20 ms; longer and it hangs
KILL_SECONDS = 2.0
REMOVE_ATTEMPTS = 50
CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
IPC_RMID = 0  # sys/ipc.h, Linux and BSD alike
UNPRIVILEGED = 65534  # "nobody" nearly everywhere, and the kernel's overflow id
ACCOUNTS = ("nobody", "postgres")
RUN = "run"
# Neither exists on Windows, where this module must still be importable.
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY = os.O_RDONLY | NO_FOLLOW | getattr(os, "O_DIRECTORY", 0)

LINUX = sys.platform == "linux"
# Loaded before any fork: a child should do as little as it can before exec.
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


class Guard:
    """The programs started so far, and the directory that is removed with them."""

    def __init__(self, base: str) -> None:
        self.directory = make_directory(base)
        self.own = os.open(self.directory, DIRECTORY)
        self.become: Callable[[], None] = remain
        self.codes: dict[int, int | None] = {}

    def serve(self) -> None:
        """Answer requests until standard input ends."""
        for line in sys.stdin:
            reply(self.answer(json.loads(line)))

    def answer(self, request: list[Any]) -> object:
        """Carry out one request; an error of the system becomes the reply."""
        verb, *arguments = request
        verbs: dict[str, Callable[..., object]] = {
            "run": self.run,
            "poll": self.poll,
            "signal": self.signal,
        }
        try:
            return verbs[verb](*arguments)
        except OSError as error:
            return {"error": str(error)}

    def run(self, log: str, *command: str) -> int:
        """Start a program in a session of its own, so that Ctrl-C does not reach it first."""
        guard = os.getpid()
        pid = os.fork()
        if pid == 0:
            self.replace_child(guard, log, command)
        self.codes[pid] = None
        return pid

    def replace_child(self, guard: int, log: str, command: tuple[str, ...]) -> None:
        """Turn the forked child into the program; never return into the guard's own code."""
        try:
            redirect(self.open_own(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
            os.setsid()
            self.become()
            os.chdir(self.directory)
            die_with(guard)  # after become(): a change of credentials clears the signal
            os.execv(command[0], command)
        except BaseException as error:
            os.write(2, f"{command[0]}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(127)

    def open_own(self, name: str, flags: int) -> int:
        return os.open(name, flags | NO_FOLLOW, 0o600, dir_fd=self.own)

    def poll(self, pid: int) -> int | None:
        self.reap()
        return self.codes[pid]

    def signal(self, pid: int, number: int) -> None:
        if self.poll(pid) is None:
            os.kill(pid, number)

    def reap(self) -> None:
        """Record the exit code of every child that has ended, including adopted ones."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self.codes[pid] = os.waitstatus_to_exitcode(status)

    def living(self) -> set[int]:
        """Return the children that still run.

        On Linux this includes the processes adopted from a killed postmaster. Elsewhere those end by
        themselves as soon as they notice that it is gone.
        """
        self.reap()
        started = {pid for pid, code in self.codes.items() if code is None}
        return started | adopted()

    def end(self) -> None:
        """End all children and remove the directory."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.signal_until_gone(signal.SIGQUIT, QUIT_SECONDS)
        self.signal_until_gone(signal.SIGKILL, KILL_SECONDS)
        self.as_the_programs(partial(remove_shared_memory, os.path.join(self.directory, RUN, "data", "postmaster.pid")))
        remove_tree(self.directory)

    def signal_until_gone(self, number: int, seconds: float) -> None:
        # Repeatedly, because killing a postmaster makes us the parent of its children.
        deadline = time.monotonic() + seconds
        while (pids := self.living()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.01)  # no single call waits for processes that we adopt while it runs

    def leave_root(self, postgres: str) -> None:
        """Find a way to run postgres as somebody other than root, which it refuses; keep it in `become`.

        A user namespace is tried first. With it, files still belong to root, so nothing needs to be
        readable for others, not even a binary under a home directory of mode 0700.

        Raises:
            PermissionError: no way works; the text has the output of each try.
        """
        log = "guard.log"
        for become, uid, gid in ways_out_of_root():
            self.become = become
            self.let_in(gid)
            if self.succeeds(log, postgres, "--version"):
                return self.give_run(uid, gid)
        with open(self.open_own(log, os.O_RDONLY), errors="replace") as said:
            raise PermissionError(cannot_leave_root(postgres, said.read()))

    def let_in(self, gid: int) -> None:
        """Let a group pass through the directory on its way to "run"; it can neither list nor change anything."""
        if gid != -1:
            os.fchown(self.own, -1, gid)
            os.fchmod(self.own, 0o710)

    def give_run(self, uid: int, gid: int) -> None:
        run = os.open(RUN, DIRECTORY, dir_fd=self.own)
        os.fchown(run, uid, gid)
        os.close(run)

    def succeeds(self, log: str, *command: str) -> bool:
        _, status = os.waitpid(pid := self.run(log, *command), 0)
        self.codes[pid] = os.waitstatus_to_exitcode(status)
        return status == 0

    def as_the_programs(self, call: Callable[[], None]) -> None:
        """Call it in a child with the rights of the programs, if it trusts a file that they can write."""
        pid = os.fork()
        if pid == 0:
            try:
                self.become()
                call()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


def remain() -> None:
    """Remain the same user."""


def enter_namespace() -> None:
    """Become an unprivileged user in a user namespace that maps only this user.

    This cannot be undone, even if it fails half-way: call it in a forked child only.
    """
    if _libc is None:
        raise OSError("user namespaces exist on Linux only")
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "user namespaces are forbidden here")
    write("/proc/self/setgroups", "deny")  # gid_map cannot be written before, user_namespaces(7)
    write("/proc/self/uid_map", f"{UNPRIVILEGED} {uid} 1")
    write("/proc/self/gid_map", f"{UNPRIVILEGED} {gid} 1")


def become_account(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def ways_out_of_root() -> Iterator[tuple[Callable[[], None], int, int]]:
    """Yield functions for a child to call, with the user and group that it then has for files (-1: unchanged)."""
    import pwd  # not on Windows, where this module must still be importable

    yield enter_namespace, -1, -1
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):  # no such account
            entry = pwd.getpwnam(name)
            yield partial(become_account, entry.pw_uid, entry.pw_gid), entry.pw_uid, entry.pw_gid


def cannot_leave_root(postgres: str, said: str) -> str:
    return (
        f"PostgreSQL refuses to run as root, and {postgres} could be run neither in a user "
        f"namespace nor as {' or '.join(ACCOUNTS)}. Run this as another user, or make the "
        f"binaries readable for these accounts:\n{said}"
    )


def die_with(guard: int) -> None:
    """Have the kernel send SIGQUIT, an immediate shutdown, when the guard dies.

    The kernel sends the signal when the *thread* that forked ends; the guard has only one thread.
    """
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGQUIT), 0, 0, 0)
    if os.getppid() != guard:  # the guard died before the call, so there will be no signal
        os._exit(127)


def adopt_orphans() -> None:
    """Become the parent of the processes that a killed postmaster leaves running."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def adopted() -> set[int]:
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return {int(child) for child in children.read().split()}
    except OSError:  # not Linux, or a kernel without CONFIG_PROC_CHILDREN
        return set()


def redirect(output: int) -> None:
    """Read from /dev/null and write to the log; all other descriptors are closed on exec."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def make_directory(base: str) -> str:
    """Make a directory of mode 0700 with a short name that is not taken."""
    while True:
        path = os.path.join(base, f"pgnotify-{os.urandom(4).hex()}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            return path


def remove_shared_memory(pid_file: str) -> None:
    """Remove the System V segment of a killed postmaster; one that exits normally removes it and the file itself."""
    with contextlib.suppress(OSError, IndexError, ValueError), open(pid_file) as lines:
        _key, identifier = lines.read().splitlines()[6].split()  # miscadmin.h: LOCK_FILE_LINE_SHMEM_KEY
        ctypes.CDLL(None).shmctl(int(identifier), IPC_RMID, None)


def remove_tree(path: str) -> None:
    """Remove a directory and everything in it, even while a last process still writes there."""
    for _ in range(REMOVE_ATTEMPTS):
        with contextlib.suppress(OSError, RecursionError):
            directory = os.open(path, DIRECTORY)
            try:
                remove_entries(directory)
            finally:
                os.close(directory)
            os.rmdir(path)
        if not os.path.lexists(path):
            return
        time.sleep(0.02)  # nothing signals when that process has ended


def remove_entries(directory: int) -> None:
    """Remove all entries of an open directory; if one is replaced by a link, an error and not the link's target."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if is_directory:
            remove_directory(name, directory)
        else:  # a link, too: that of a tablespace leads to a directory that is not ours
            os.unlink(name, dir_fd=directory)


def remove_directory(name: str, parent: int) -> None:
    directory = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        remove_entries(directory)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def reply(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def prepare(base: str, postgres: str) -> Guard:
    guard = Guard(base)
    try:
        os.mkdir(RUN, 0o700, dir_fd=guard.own)
        if os.geteuid() == 0:
            guard.leave_root(postgres)
    except OSError:
        guard.end()
        raise
    return guard


def main(base: str, postgres: str) -> None:
    """Make the directory, report its path, then serve until the launcher is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    adopt_orphans()
    try:
        guard = prepare(base, postgres)
    except OSError as error:
        return reply({"error": str(error)})
    try:
        reply({"directory": guard.directory})
        guard.serve()
    finally:
        guard.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
