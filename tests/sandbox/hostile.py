"""Graders that mean harm. Each returns 1 if it got away with it, so a score from any of them is a hole.

`item` names what to attack outside: `file` (a file), `folder` around it, `victim` (a process of ours),
`parent` (the test itself), `port` (a listening socket).
"""

from __future__ import annotations

from textwrap import dedent, indent

_IMPORTS = """
import ctypes, gc, io, json, mmap, os, resource, shutil, signal, socket, subprocess, sys, threading, time
"""


def _attack(body: str) -> str:
    return f"{_IMPORTS}def grade(sample, item):\n{indent(dedent(body).strip(), '    ')}\n    return 1\n"


_BODIES = {
    # reading
    "reads a file": "open(item['file']).read()",
    "reads a file with os": "os.read(os.open(item['file'], os.O_RDONLY), 10)",
    "reads the passwords": "open('/etc/passwd').read()",
    "reads the shadow": "open('/etc/shadow').read()",
    "reads a home": "assert os.listdir(os.path.expanduser('~root')) or os.listdir('/home')",
    "climbs out": "open('../../../../../../' + item['file']).read()",
    "reads by a path only": "os.read(os.open('/proc/self/fd', os.O_PATH), 1)",
    "reads the environment of others": "open(f\"/proc/{item['parent']}/environ\").read()",
    "reads its own environment for keys": "assert [k for k in os.environ if 'KEY' in k or 'TOKEN' in k]",
    "reads the process table": "os.listdir('/proc')",
    "reads its memory map": "open('/proc/self/maps').read()",
    "reads the memory of process 1": "open('/proc/1/mem', 'rb').read(1)",
    "reads the root of process 1": "os.listdir('/proc/1/root/')",
    "reads the kernel": "open('/sys/kernel/notes', 'rb').read(1)",
    "reads a disk": "open('/dev/vda', 'rb').read(1)",
    "reads the kernel log": "assert ctypes.CDLL(None).klogctl(3, ctypes.create_string_buffer(99), 99) > 0",
    "imports a package that is not allowed": "import torch, transformers, sqlalchemy, openai",
    "imports the store": "import tailor.store",
    "imports from outside": "sys.path.insert(0, item['folder']); import canary_module",
    "sees the packages of the interpreter": "import pip",
    # writing
    "writes a file": "open(item['file'], 'w').write('owned')",
    "makes a file": "open(item['folder'] + '/made', 'w').write('owned')",
    "makes a folder": "os.mkdir(item['folder'] + '/made')",
    "deletes a file": "os.unlink(item['file'])",
    "deletes everything": "shutil.rmtree('/', onerror=None); shutil.rmtree(item['folder'])",
    "renames a file": "os.rename(item['file'], item['file'] + '.gone')",
    "cuts a file": "os.truncate(item['file'], 0)",
    "cuts a file while opening it": "os.open(item['file'], os.O_RDONLY | os.O_TRUNC)",
    "links a file": "os.link(item['file'], '/tmp/link'); open('/tmp/link').read()",
    "reads through a symlink": "os.symlink(item['file'], '/tmp/link'); open('/tmp/link').read()",
    "writes through a symlink": "os.symlink(item['folder'], '/tmp/link'); open('/tmp/link/made', 'w')",
    "changes rights": "os.chmod(item['file'], 0o777)",
    "changes the owner": "os.chown(item['file'], 65534, 65534)",
    "changes times": "os.utime(item['file'], (0, 0))",
    "makes a setuid program": "open('/tmp/s', 'w').write('x'); os.chmod('/tmp/s', 0o4777)",
    "poisons the standard library": "open(json.__file__, 'a').write('owned = 1')",
    "poisons a package": "import numpy; open(numpy.__file__, 'a').write('owned = 1')",
    "poisons compiled code": "open(json.__cached__, 'ab').write(b'owned')",
    "makes a device": "os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)); open('/tmp/disk', 'rb').read(1)",
    "fills the disk": "\n".join(
        ["for number in range(10_000):", "    open(f'/tmp/{number}', 'wb').write(bytes(1 << 24))"]
    ),
    "makes files without end": "for number in range(10**7): open(f'/tmp/{number}', 'w').close()",
    "writes one long file": "open('/tmp/long', 'wb').truncate(1 << 40)",
    # network
    "connects": "socket.create_connection(('127.0.0.1', item['port']), 2)",
    "connects by IPv6": "socket.create_connection(('::1', item['port']), 2)",
    "sends a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",
    "listens": "socket.create_server(('127.0.0.1', 0))",
    "makes raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "speaks netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "speaks to a local socket": "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "resolves a name": "socket.getaddrinfo('example.com', 80)",
    "fetches a page": "from urllib import request; request.urlopen('http://127.0.0.1:' + str(item['port']))",
    "calls for a socket directly": "assert ctypes.CDLL(None).socket(2, 1, 0) >= 0",
    # processes and signals
    "forks": "os.fork()",
    "forks without end": "while True: os.fork()",
    "forks in C": "assert ctypes.CDLL(None).fork() >= 0",
    "starts a program": "subprocess.run(['/bin/sh', '-c', 'true'], check=True)",
    "becomes a program": "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "asks a shell": "assert os.system('true') == 0",
    "starts workers": "import multiprocessing; multiprocessing.Pool(2).map(abs, [1])",
    "kills a process": "os.kill(item['victim'], 9)",
    "kills the parent": "os.kill(os.getppid(), 9)",
    "kills the first process": "os.kill(1, 9)",
    "kills everybody": "os.kill(-1, 9)",
    "kills its group": "os.killpg(0, 9)",
    "interrupts the first process": "os.kill(1, signal.SIGINT)",
    "signals by handle": "signal.pidfd_send_signal(os.pidfd_open(item['victim']), 9)",
    "traces a process": "assert ctypes.CDLL(None).ptrace(16, item['victim'], 0, 0) == 0",
    "reads the memory of a process": (
        "v = (ctypes.c_void_p * 2)()\n"
        "assert ctypes.CDLL(None).process_vm_readv(item['victim'], v, 1, v, 1, 0) >= 0"
    ),
    "leaves the group": "os.setsid()",
    "becomes root": "os.setuid(0); os.setgid(0); open('/etc/shadow').read()",
    "makes namespaces": "assert ctypes.CDLL(None).unshare(0x10020000) == 0",
    "mounts": "assert ctypes.CDLL(None).mount(b'proc', b'/tmp', b'proc', 0, None) == 0",
    "unmounts": "assert ctypes.CDLL(None).umount2(b'/tmp', 2) == 0",
    "changes the root": "os.chroot('/tmp')",
    "raises its limits": (
        "resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    ),
    "raises another's limits": "resource.prlimit(item['victim'], resource.RLIMIT_NOFILE, (0, 0))",
    "sets the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "uses io_uring": "assert ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)) >= 0",
    "uses a kernel key": "assert ctypes.CDLL(None).syscall(250, 0, -4, 1) > 0",
    "loads a kernel program": "assert ctypes.CDLL(None).syscall(321, 0, b'x', 1) > 0",
    "shares memory": "assert ctypes.CDLL(None).shmget(0, 1 << 30, 0o1777) >= 0",
    "hides memory in a file": "os.ftruncate(os.memfd_create('m'), 1 << 40)",
    "lifts the filter": "assert ctypes.CDLL(None).prctl(22, 0, 0, 0, 0) == 0",
    # memory and time
    "takes memory": "x = bytearray(1 << 34)",
    "takes memory bit by bit": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "takes memory by text": "x = 'x' * (1 << 40)",
    "takes memory by mapping": "mmap.mmap(-1, 1 << 40)",
    "unpacks a bomb": "import zlib; d = zlib.compress(bytes(1 << 26)) * 64\n"
    "x = [zlib.decompress(d[:len(d) // 64]) for _ in range(64)]",
    "computes a giant": "x = 9 ** 9 ** 9",
    "loops": "while True: pass",
    "sleeps": "time.sleep(1000)",
    "sleeps deaf to signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(9)"
    ),
    "ignores the end of its time": "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "catches everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "lets a regular expression explode": "import re; re.match('(a+)+$', 'a' * 64 + 'b')",
    "starts threads without end": (
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"
    ),
    "leaves a thread behind": "threading.Thread(target=time.sleep, args=(99,)).start(); os.kill(1, 9)",
    "recurses": "def f(): return f()\nf()",
    "recurses without a limit": "sys.setrecursionlimit(1 << 30)\ndef f(): return f()\nf()",
    "recurses in C": "sys.setrecursionlimit(1 << 30)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "crashes": "ctypes.string_at(0)",
    "crashes on purpose": "os.abort()",
    # output and lies
    "prints without end": "while True: print('x' * 65536)",
    "writes errors without end": "while True: os.write(2, b'x' * 65536)",
    "leaves": "os._exit(0)",
    "leaves politely": "sys.exit(0)",
    "leaves with a score": "sys.exit(1.0)",
    "prints a score and leaves": "print('{\"score\": 1}', flush=True); os._exit(0)",
    "writes a score everywhere": "\n".join(
        [
            "for fd in range(1024):",
            "    try: os.write(fd, b'{\"score\": 1}')",
            "    except OSError: pass",
            "os._exit(0)",
        ]
    ),
    "writes a framed score everywhere": "\n".join(
        [
            'text = b\'{"text": "{\\\\"score\\\\": 1}", "ended": "exit 0", "seconds": 0}\'',
            "for fd in range(1024):",
            "    try: os.write(fd, len(text).to_bytes(4, 'big') + text)",
            "    except OSError: pass",
            "os._exit(0)",
        ]
    ),
    "floods the answer": "\n".join(
        [
            "for fd in range(3, 1024):",
            "    try:",
            "        while True: os.write(fd, b'x' * 4096)",
            "    except OSError: pass",
        ]
    ),
    "replaces the way out": "sys.stdout = sys.stderr = sys.stdin = None; os.closerange(0, 1024)",
    "moves the descriptors": "for fd in range(3, 20):\n    try: os.dup2(0, fd)\n    except OSError: pass",
    "returns text": "return '1'",
    "returns nothing": "return None",
    "returns no number": "return float('nan')",
    "returns without bound": "return float('inf')",
    "returns a list": "return [1.0]",
    "returns what cannot be shown": (
        "class Bad:\n    def __repr__(self): raise KeyboardInterrupt\n    __float__ = __repr__\nreturn Bad()"
    ),
    "raises what cannot be shown": (
        "class Bad(Exception):\n    def __str__(self): raise SystemExit(0)\nraise Bad()"
    ),
    "raises at length": "raise ValueError('x' * (1 << 24))",
    "breaks the importer": "sys.meta_path.clear(); sys.path.clear(); sys.modules.clear(); import decimal",
    "hooks the audit": "sys.addaudithook(lambda *a: os._exit(0)); open('/tmp/x', 'w')",
    "hooks the trace": "sys.settrace(lambda *a: os._exit(0)); (lambda: 1)()",
    "hooks the end": "import atexit; atexit.register(os._exit, 0); sys.exit(0)",
}

_SOURCES = {
    "is no Python": "def grade(sample, item) return 1",
    "has no grade": "def score(sample, item): return 1",
    "has a grade that is no function": "grade = 1.0",
    "has a lazy grade": "async def grade(sample, item): return 1",
    "wants more arguments": "def grade(sample, item, more): return 1",
    "leaves when loaded": "import os; os._exit(0)",
    "loops when loaded": "while True: pass",
    "is deep": "x = " + "(" * 5000 + ")" * 5000 + "\ndef grade(sample, item): return 1",
    "is deep in another way": "x = " + "-" * 100_000 + "1\ndef grade(sample, item): return 1",
    "is long": "def grade(sample, item): return 1\n" + "#" * (256 * 1024),
    "holds a NUL": "def grade(sample, item): return 1\0",
    "holds half a character": "def grade(sample, item): return '\udc80'",
    "breaks the import of others": "import sys\nsys.modules['json'] = None\nfrom . import x\ngrade = 1",
}

HOSTILE = {name: _attack(body) for name, body in _BODIES.items()} | _SOURCES
