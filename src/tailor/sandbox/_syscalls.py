"""What a confined process may ask of the kernel: a list of what is allowed, as a seccomp filter.

A list of what is forbidden would miss the calls that next year's kernel adds. Sockets, processes, signals
to others, tracing, namespaces, mounts, keys, io_uring and clocks are absent, and so is `truncate`, which
old Landlock versions do not see. Whatever is absent fails with EPERM; Python makes PermissionError of it.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import ENOSYS, EPERM
from typing import Final

# Name, number on x86-64, number on arm64 (from the kernel's unistd.h); a dash where there is none.
_ALLOWED: Final = """
read 0 63           write 1 64          readv 19 65          writev 20 66         pread64 17 67
pwrite64 18 68      preadv 295 69       pwritev 296 70       lseek 8 62           close 3 57
close_range 436 436 open 2 -            openat 257 56        stat 4 -             fstat 5 80
lstat 6 -           newfstatat 262 79   statx 332 291        access 21 -          faccessat 269 48
faccessat2 439 439  readlink 89 -       readlinkat 267 78    getcwd 79 17         chdir 80 49
fchdir 81 50        getdents 78 -       getdents64 217 61    mkdir 83 -           mkdirat 258 34
rmdir 84 -          unlink 87 -         unlinkat 263 35      rename 82 -          renameat 264 38
renameat2 316 276   symlink 88 -        symlinkat 266 36     ftruncate 77 46      fsync 74 82
fdatasync 75 83     flock 73 32         fcntl 72 25          dup 32 23            dup2 33 -
dup3 292 24         pipe 22 -           pipe2 293 59         poll 7 -             ppoll 271 73
select 23 -         pselect6 270 72     epoll_create 213 -   epoll_create1 291 20 epoll_ctl 233 21
epoll_wait 232 -    epoll_pwait 281 22  eventfd2 290 19      mmap 9 222           munmap 11 215
mremap 25 216       mprotect 10 226     madvise 28 233       brk 12 214           msync 26 227
futex 202 98        rseq 334 293        set_robust_list 273 99 set_tid_address 218 96 gettid 186 178
getpid 39 172       getppid 110 173     getuid 102 174       geteuid 107 175      getgid 104 176
getegid 108 177     getresuid 118 148   getresgid 120 150    getgroups 115 158    getpgrp 111 -
getpgid 121 155     getsid 124 156      clock_gettime 228 113 clock_getres 229 114 clock_nanosleep 230 115
nanosleep 35 101    gettimeofday 96 169 time 201 -           times 100 153        getrusage 98 165
rt_sigaction 13 134 rt_sigprocmask 14 135 rt_sigreturn 15 139 rt_sigpending 127 136 sigaltstack 131 132
pause 34 -          alarm 37 -          setitimer 38 103     getitimer 36 102     restart_syscall 219 128
exit 60 93          exit_group 231 94   uname 63 160         sysinfo 99 179       getrandom 318 278
arch_prctl 158 -    umask 95 166        sched_yield 24 124   sched_getaffinity 204 123 getcpu 309 168
statfs 137 43       fstatfs 138 44      getrlimit 97 163     membarrier 324 283   sendfile 40 71
copy_file_range 326 285 sendto 44 206   recvfrom 45 207      sendmsg 46 211       recvmsg 47 212
shutdown 48 210     getsockopt 55 209   setsockopt 54 208    getsockname 51 204
"""

_TERMINAL_QUESTIONS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what Python asks of an open file."""
_CLONE_THREAD: Final = 0x10000
_AF_UNIX: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A processor family whose system calls we know."""

    audit_id: int
    """What the kernel calls it in the filter's data."""
    column: int
    clone: int
    clone3: int
    ioctl: int
    prlimit: int
    socketpair: int
    pivot_root: int


_MACHINES: Final = {
    "x86_64": Machine(
        audit_id=0xC000003E,
        column=0,
        clone=56,
        clone3=435,
        ioctl=16,
        prlimit=302,
        socketpair=53,
        pivot_root=155,
    ),
    "aarch64": Machine(
        audit_id=0xC00000B7,
        column=1,
        clone=220,
        clone3=435,
        ioctl=29,
        prlimit=261,
        socketpair=199,
        pivot_root=41,
    ),
}


def this_machine() -> Machine | None:
    """The family of this processor; None where we do not know its system calls."""
    return _MACHINES.get(platform.machine())


def allowed_numbers(machine: Machine) -> list[int]:
    """Every call that is allowed whatever its arguments."""
    words = _ALLOWED.split()
    column = words[1 + machine.column :: 3]
    return [int(number) for number in column if number != "-"]


_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def seccomp_filter(machine: Machine, *, threads: bool) -> bytes:
    """The filter as BPF instructions for `prctl(PR_SET_SECCOMP)`."""
    program = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_EQUAL, machine.audit_id, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER),
        # The C library falls back to clone, whose flags a filter can read.
        *_when(machine.clone3, [_op(_RETURN, _ERRNO | ENOSYS)]),
        *_when(machine.ioctl, _if_equal(_SECOND, _TERMINAL_QUESTIONS)),
        *_when(machine.prlimit, _if_equal(_FIRST, [0])),
        *_when(machine.socketpair, _if_equal(_FIRST, [_AF_UNIX])),
    ]
    if threads:
        program += _when(machine.clone, [_op(_LOAD, _FIRST), *_allow_if(_ANY_BIT, _CLONE_THREAD), _refuse()])
    for number in allowed_numbers(machine):
        program += _when(number, [_op(_RETURN, _ALLOW)])
    return b"".join([*program, _refuse()])


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse() -> bytes:
    return _op(_RETURN, _ERRNO | EPERM)


def _when(number: int, then: list[bytes]) -> list[bytes]:
    return [_op(_EQUAL, number, 0, len(then)), *then]


def _allow_if(test: int, value: int) -> Iterator[bytes]:
    yield _op(test, value, 0, 1)
    yield _op(_RETURN, _ALLOW)


def _if_equal(argument: int, values: Iterable[int]) -> list[bytes]:
    checks = [op for value in values for op in _allow_if(_EQUAL, value)]
    return [_op(_LOAD, argument), *checks, _refuse()]
