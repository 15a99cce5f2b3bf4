"""The Linux calls that Python's standard library lacks; each raises OSError naming what failed."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from tailor.sandbox._syscalls import this_machine

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
EVERY_NAMESPACE: Final = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)

MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 0x2
READ_ONLY: Final = 0x1
NO_SET_USER_ID: Final = 0x2
NO_DEVICES: Final = 0x4
NO_PROGRAMS: Final = 0x8

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_MOUNT_SETATTR: Final = 442
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for new ones."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system, or with MS_BIND a folder a second time."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _check(result, f"mount {target}")


def restrict_mount(target: str, attributes: int, *, recursive: bool = True) -> None:
    """Add attributes to a mount, and to all below it, whatever those had."""
    given = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, target.encode(), flags, given, len(given))
    _check(result, f"mount_setattr {target}")


def enter_root(directory: str) -> None:
    """Make a mounted directory the root, and let go of the old one."""
    machine = this_machine()
    if machine is None:
        raise OSError("unknown processor")
    os.chdir(directory)
    _check(_libc.syscall(machine.pivot_root, b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")


def unmount(target: str) -> None:
    """Take a mount away, even where it is in use."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number, "set parent death signal")


def drop_capabilities() -> None:
    """Give up every capability, for good: no program started later gets any back either."""
    header, nothing = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _check(_libc.capset(header, nothing), "capset")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no new privileges")
    _prctl(_PR_SET_DUMPABLE, 0, "not dumpable")


def install_filter(program: bytes) -> None:
    """Put a seccomp filter on this process, for good."""
    kept = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(kept))
    result = _libc.prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(header), 0, 0)
    _check(result, "seccomp")


def landlock_version() -> int:
    """The version of Landlock that this kernel has; 0 where it has none or it is switched off."""
    return int(max(0, _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)))


_READ_FILE, _READ_DIRECTORY, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_READ = _READ_FILE | _READ_DIRECTORY
_REMOVE, _MAKE_DIRECTORY, _MAKE_FILE, _MAKE_LINK, _REFER = 0b11 << 4, 1 << 7, 1 << 8, 1 << 12, 1 << 13
_WRITE = _WRITE_FILE | _TRUNCATE | _REMOVE | _MAKE_DIRECTORY | _MAKE_FILE | _MAKE_LINK | _REFER
_FOR_FILES = _READ_FILE | _WRITE_FILE | _TRUNCATE


def confine_files(
    version: int, *, read: tuple[str, ...], listed: tuple[str, ...], write: tuple[str, ...]
) -> None:
    """With Landlock: read only below `read`, list only below `listed` too, write only below `write`.

    Also refuses TCP, abstract sockets and signals to outside, where the kernel's Landlock can.
    """
    known = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("=QQQ", known, 0b11, 0b11)[:size]
    rules = _check(_libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, size, 0), "landlock")
    for paths, rights in ((read, _READ), (listed, _READ_DIRECTORY), (write, _READ | _WRITE)):
        for path in paths:
            _allow(rules, path, rights & known)
    _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= _FOR_FILES
    rule = struct.pack("=Qi", rights, place)
    _check(_libc.syscall(_LANDLOCK_ADD_RULE, rules, 1, rule, 0), f"landlock {path}")
    os.close(place)


def _prctl(option: int, value: int, what: str) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), what)
