"""Inside: builds the walls. Runs before any foreign code does, and forks the process that runs it."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Callable
from typing import NoReturn

from tailor.sandbox import _kernel
from tailor.sandbox._plan import DEVICES, Plan
from tailor.sandbox._syscalls import seccomp_filter, this_machine

_NOBODY = 65534
_TMP = "/tmp"  # noqa: S108  the name that programs expect, in a root of our own
_NEW_ROOT = "/proc"
"""Where the new root is put together: a folder that always exists and hides nothing we need."""


def in_new_namespaces(work: Callable[[], NoReturn]) -> NoReturn:
    """Run `work` as process 1 of new namespaces, and end as it ends."""
    is_root = os.geteuid() == 0
    if is_root:
        os.setgroups([])
    ready, begin = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(begin)
        os.read(ready, 1)
        _map_users(os.getppid(), is_root=is_root)
        os._exit(0)
    _kernel.unshare(_kernel.EVERY_NAMESPACE)
    os.write(begin, b".")
    if os.waitpid(mapper, 0)[1] != 0:
        raise OSError("the user namespace could not be given its users")
    os.close(ready)
    os.close(begin)
    first = os.fork()
    if first == 0:
        work()
    for descriptor in (0, 1):
        os.close(descriptor)  # so that the other end sees it when process 1 ends
    os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)


def _map_users(process: int, *, is_root: bool) -> None:
    """Root keeps itself for building and gets nobody for running; anybody else becomes nobody."""
    user, group = os.geteuid(), os.getegid()
    for name, number in (("uid_map", user), ("gid_map", group)):
        if name == "gid_map" and not is_root:
            _write(f"/proc/{process}/setgroups", "deny")
        lines = f"0 0 1\n{_NOBODY} {_NOBODY} 1\n" if is_root else f"{_NOBODY} {number} 1\n"
        _write(f"/proc/{process}/{name}", lines)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def build_root(plan: Plan) -> None:
    """A root that holds what may be read, read-only, three devices and an empty /tmp; nothing else."""
    _kernel.mount("", "/", "", _kernel.MS_REC | _kernel.MS_PRIVATE)
    _mount_empty(_NEW_ROOT, "size=4m,mode=755")
    for path in plan.read:
        if os.path.islink(path):
            os.symlink(os.readlink(path), _below(path))
        else:
            _show(path, _kernel.READ_ONLY | _kernel.NO_SET_USER_ID | _kernel.NO_DEVICES)
    for path in DEVICES:
        _show(path, _kernel.NO_SET_USER_ID | _kernel.NO_PROGRAMS)
    for path in plan.hidden:
        _mount_empty(_below(path), "size=4k,mode=755")
    os.mkdir(_below(_TMP), 0o755)
    _kernel.enter_root(_NEW_ROOT)
    _kernel.restrict_mount("/", _kernel.READ_ONLY, recursive=False)
    _mount_tmp(plan)


def empty_tmp(plan: Plan) -> None:
    """Give /tmp anew if the last item left something there."""
    with os.scandir(_TMP) as entries:
        is_used = next(entries, None) is not None
    if is_used:
        _kernel.unmount(_TMP)
        _mount_tmp(plan)


def _mount_tmp(plan: Plan) -> None:
    disk = plan.limits.disk_bytes
    _mount_empty(_TMP, f"size={disk},nr_inodes={max(16, disk // 4096)},mode=1777")


def _below(path: str) -> str:
    return _NEW_ROOT + path


def _show(path: str, attributes: int) -> None:
    target = _below(path)
    if stat.S_ISDIR(os.stat(path).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _kernel.mount(path, target, "", _kernel.MS_BIND | _kernel.MS_REC)
    _kernel.restrict_mount(target, attributes)


def _mount_empty(target: str, options: str) -> None:
    _kernel.mount("tmpfs", target, "tmpfs", _kernel.MS_NOSUID | _kernel.MS_NODEV, options)


def confine(plan: Plan) -> None:
    """Shut this process in for good: limits, no rights, only the files and calls of the plan."""
    machine = this_machine()
    if machine is None:
        raise OSError("unknown processor")
    has_room = plan.walls == "namespaces"
    if has_room:
        os.chdir(_TMP)
        if os.getuid() == 0:
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _set_limits(plan)
    _kernel.die_with_parent(signal.SIGKILL)
    _kernel.drop_capabilities()
    if (version := _kernel.landlock_version()) or not has_room:
        read = ("/",) if has_room else (*plan.read, *DEVICES)
        write = (_TMP, "/dev/null") if has_room else ("/dev/null",)
        _kernel.confine_files(version, read=read, listed=() if has_room else plan.listed, write=write)
    # Without a namespace of their own, threads cannot be counted apart from the user's other processes.
    _kernel.install_filter(seccomp_filter(machine, threads=has_room))


def _set_limits(plan: Plan) -> None:
    limits = plan.limits
    seconds = max(1, int(limits.seconds + 1))
    for name, soft, hard in (
        ("AS", limits.memory_bytes, limits.memory_bytes),
        ("CPU", seconds, seconds + 1),
        ("FSIZE", limits.disk_bytes, limits.disk_bytes),
        ("NPROC", limits.threads, limits.threads),
        ("NOFILE", 64, 64),
        ("STACK", 8 << 20, 8 << 20),
        ("CORE", 0, 0),
        ("MEMLOCK", 0, 0),
        ("MSGQUEUE", 0, 0),
        ("SIGPENDING", 64, 64),
        ("RTPRIO", 0, 0),
    ):
        kind = getattr(resource, f"RLIMIT_{name}")
        had = resource.getrlimit(kind)[1]
        if had != resource.RLIM_INFINITY:
            soft, hard = min(soft, had), min(hard, had)
        resource.setrlimit(kind, (soft, hard))
