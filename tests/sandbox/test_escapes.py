"""Every hole that is known (docs/decisions/0020-a-box-or-a-refusal.md), tried from inside at each level.

Each line is code that a cell runs; what it prints must begin with "held". A planted box without the filter of calls
shows that the lines would notice.
"""

import os
import socket

import pytest
from tests.sandbox.ways import at_every_level

from ouvert.sandbox import Level

HELPERS = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *(a if isinstance(a, bytes) or a is None else ctypes.c_long(a) for a in args))
    return 'out' if result >= 0 else 'held ' + errno.errorcode[ctypes.get_errno()]
def held(attempt):
    try:
        attempt()
    except (OSError, ValueError) as problem:
        return f'held {problem}'
    return 'out'
arm = os.uname().machine == 'aarch64'
"""

# In WebAssembly there is no calling the kernel by number: without ctypes, nothing that a cell runs makes a call.
HELPERS_OF_WASM = """
import errno, os, sys
try:
    import socket
except ImportError:
    pass
try:
    import ctypes
    def call(number, *args): return 'out: there is ctypes'
except ImportError:
    def call(number, *args): return 'held: no calls'
def held(attempt):
    try:
        attempt()
    except (OSError, ValueError, AttributeError, ImportError) as problem:
        return f'held {problem}'
    return 'out'
arm = False
"""

ESCAPES = {
    # files
    "read a file outside": "held(lambda: open({secret!r}).read())",
    "read it by a relative path": "held(lambda: open('../secret').read())",
    "read it through a link": "(os.symlink({secret!r}, 'link'), held(lambda: open('link').read()))[1]",
    "write a file outside": "held(lambda: open({secret!r}, 'w'))",
    "remove a file outside": "held(lambda: os.unlink({secret!r}))",
    "rename a file outside": "held(lambda: os.rename({secret!r}, 'mine'))",
    "link to a file outside": "held(lambda: os.link({secret!r}, 'mine'))",
    "make a file beside its folder": "held(lambda: open({beside!r}, 'w'))",
    "truncate a file outside by its path": "call(45 if arm else 76, {secret!r}.encode(), 0)",
    "truncate a file by reading it": "held(lambda: os.open({readable!r}, os.O_RDONLY | os.O_TRUNC))",
    "write the Python that runs": "held(lambda: open(os.__file__, 'a'))",
    "open a file by its handle": "call(265 if arm else 304, -100, bytes(64), 0)",
    "make a handle of a file": "call(264 if arm else 303, -100, b'/', bytes(64), bytes(4), 0)",
    "watch a folder": "call(26 if arm else 294, 0)",
    "set an attribute": "held(lambda: os.setxattr('.', 'user.x', b'1'))",
    "change an owner": "held(lambda: os.chown('.', 0, 0))",
    "open with a structure that the filter cannot read": "call(437, -100, b'/', bytes(24), 24)",
    "make a file that runs as its owner": "held(lambda: os.close(os.open('s', os.O_CREAT | os.O_WRONLY, 0o4755)))",
    "make a device": "held(lambda: os.mknod('null', 0o20666, os.makedev(1, 3)))",
    "read the disk": "held(lambda: open('/dev/vda', 'rb'))",
    "read the kernel's memory": "held(lambda: open('/proc/kcore', 'rb').read(1))",
    "write a setting of the kernel": "held(lambda: open('/proc/sys/kernel/core_pattern', 'w'))",
    "read the environment of whoever asked": "held(lambda: open('/proc/{pid}/environ').read())",
    # sockets
    "connect to this machine": "held(lambda: socket.create_connection(('127.0.0.1', {port}), 2))",
    "make a UDP socket": "held(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))",
    "make an IPv6 socket": "held(lambda: socket.socket(socket.AF_INET6))",
    "make a netlink socket": "held(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))",
    "make a unix socket": "held(lambda: socket.socket(socket.AF_UNIX))",
    "make a raw socket": "held(lambda: socket.socket(17, socket.SOCK_RAW))",
    "make a VM socket": "held(lambda: socket.socket(40, socket.SOCK_STREAM))",
    "make a pair of another family": "call(199 if arm else 53, 16, 3, 0, bytes(8))",
    "look a name up": "held(lambda: socket.getaddrinfo('example.invalid', 80))",
    "make a ring": "call(425, 1, bytes(512))",
    "enter a ring": "call(426, 0, 0, 0, 0, None)",
    "register with a ring": "call(427, 0, 0, None, 0)",
    # processes
    "signal whoever asked": "held(lambda: os.kill({pid}, 0)) if {landlock} else 'held: another number here'",
    "trace": "call(117 if arm else 101, 0, 0, 0, 0)",
    "read another's memory": "call(270 if arm else 310, {pid}, None, 0, None, 0, 0)",
    "write another's memory": "call(271 if arm else 311, {pid}, None, 0, None, 0, 0)",
    "write the first process's memory": "held(lambda: open('/proc/1/mem', 'r+b'))",
    "hold another process": "call(434, {pid}, 0)",
    "take another's descriptor": "call(438, 3, 0, 0)",
    "compare with another": "call(272 if arm else 312, {pid}, {pid}, 0, 0, 0)",
    "limit another": "call(261 if arm else 302, {pid}, 7, None, bytes(16))",
    "change another's priority": "call(140 if arm else 141, 0, {pid}, 19)",
    "pin another": "call(122 if arm else 203, {pid}, 8, bytes(8))",
    # namespaces and mounts
    "make a user namespace": "call(97 if arm else 272, 0x10000000)",
    "make a mount namespace": "call(97 if arm else 272, 0x00020000)",
    "clone into a namespace": "call(220 if arm else 56, 0x10000011, 0, 0, 0, 0)",
    "clone by a structure": "call(435, bytes(88), 88)",
    "enter a namespace": "call(268 if arm else 308, 0, 0)",
    "mount": "call(40 if arm else 165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "open a tree": "call(428, -100, b'/', 1)",
    "change root": "call(51 if arm else 161, b'.')",
    # the kernel
    "program the kernel": "call(280 if arm else 321, 0, bytes(64), 64)",
    "count events": "call(241 if arm else 298, bytes(128), 0, -1, -1, 0)",
    "handle faults": "call(282 if arm else 323, 0)",
    "read keys": "call(219 if arm else 250, 0, 0, 0, 0, 0)",
    "add a key": "call(217 if arm else 248, b'user', b'x', b'y', 1, -3)",
    "memory that no limit counts": "call(279 if arm else 319, b'x', 0)",
    "secret memory": "call(447, 0)",
    "shared memory": "call(194 if arm else 29, 0, 4096, 0o1600)",
    "a message queue": "call(186 if arm else 68, 0, 0o1600)",
    "semaphores": "call(190 if arm else 64, 0, 1, 0o1600)",
    "read the kernel's log": "call(116 if arm else 103, 3, bytes(64), 64)",
    "set the clock": "call(112 if arm else 227, 0, bytes(16))",
    "another personality": "call(92 if arm else 135, 0x0040000)",
    "a call that is newer than the table": "call(462, 0, 0, 0)",
    "type into a terminal": "call(29 if arm else 16, 0, 0x5412, b'x')",
    "become root": "held(lambda: os.setuid(0))",
    "a program that runs as root": "'out' if os.popen('su -c id 2>&1; id -u').read().split()[-1] == '0' else 'held'",
    "raise its limits": "held(lambda: __import__('resource').setrlimit(7, (4096, 4096)))",
    "variables of whoever asked": "'held' if 'PYTEST_CURRENT_TEST' not in os.environ else 'out'",
}


@pytest.fixture
def outside(tmp_path):
    """A file beside the box's folder, a server of this machine, this process: what must not be reached."""
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    secret.chmod(0o644)
    readable = tmp_path / "shown" / "readable"
    readable.parent.mkdir()
    readable.write_text("to be read")
    readable.chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {
            "secret": str(secret),
            "beside": str(tmp_path / "new"),
            "readable": str(readable),
            "port": server.getsockname()[1],
            "pid": os.getpid(),
        }


@at_every_level
def test_nothing_gets_out(opened, outside, tmp_path):
    """All lines in one cell: each holds, and what is outside is as it was."""
    shown = tmp_path / "shown"
    box = opened(read_only=[shown])
    facts = {**outside, "landlock": box.level is not Level.NAMESPACES}
    cell = box.cell()
    assert cell.run(HELPERS_OF_WASM if box.level is Level.WASM else HELPERS).text == ""
    if box.level is not Level.LANDLOCK:  # there root's box is nobody's, who may not get to what root was lent
        assert cell.run(f"open({outside['readable']!r}).read()").text == "'to be read'\n"
    out = {}
    for what, line in ESCAPES.items():
        code = f"print({line.format(**facts)})"
        if box.level is Level.WASM:  # what leads to an attempt is refused there already
            code = f"try: {code}\nexcept OSError as problem: print('held', problem)"
        said = cell.run(code, seconds=20)
        if not getattr(said, "text", "").startswith("held"):
            out[what] = said
    if box.level is Level.WASM:  # there are no modes: the file is made, as every other
        assert out.pop("make a file that runs as its owner").text == "out\n"
        assert [oct(each.lstat().st_mode) for each in box.folder.iterdir() if each.lstat().st_mode & 0o6111] == []
    assert {what: getattr(said, "text", said)[-150:] for what, said in out.items()} == {}
    assert (tmp_path / "secret").read_text() == "the secret"
    assert (shown / "readable").read_text() == "to be read"
    assert not (tmp_path / "new").exists()


def test_modes_and_times_outside_stay_though_the_calls_succeed(cell, outside, tmp_path):
    """The hole of Landlock that was found by trying: chmod and utime. The calls pretend, so that copying works."""
    before = (tmp_path / "secret").stat()
    cell.run(HELPERS)
    for line in ("os.chmod({secret!r}, 0)", "os.utime({secret!r}, (0, 0))", "os.chmod('../secret', 0)"):
        assert "PermissionError" not in cell.run(line.format(**outside)).text
    after = (tmp_path / "secret").stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    copied = "import shutil\nopen('a', 'w').write('x')\nshutil.copy2('a', 'b')\nopen('b').read()"
    assert cell.run(copied).text == "'x'\n"


def test_no_descriptor_that_was_open_is_open_inside(box, tmp_path):
    """A program has its three; a cell three more, none of which leads anywhere but to whoever asked."""
    left_open = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(left_open, True)
    listing = (
        "import os\ndef is_open(fd):\n    try: return os.fstat(fd)\n    except OSError: pass\n"
        "print([fd for fd in range(256) if is_open(fd)])"
    )
    try:
        assert box.run([box.python, "-c", listing]).stdout == b"[0, 1, 2]\n"
        assert box.cell().run(listing).text == "[0, 1, 2, 4, 5]\n"
    finally:
        os.close(left_open)


def test_calls_by_another_door_end_the_process(box):
    """32-bit and x32 calls have other numbers: whoever makes one is killed. (Only x86-64 has such doors.)"""
    if os.uname().machine != "x86_64":
        assert box.run(["/bin/true"]).succeeded
        return
    x32 = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
    assert box.run([box.python, "-c", x32]).code == -31
    # mov eax, 20 (getpid of 32 bits); int 0x80; ret
    door = (
        "import ctypes, mmap\n"
        "code = mmap.mmap(-1, 4096, prot=7)\n"
        "code.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))\n"
        "at = ctypes.addressof(ctypes.c_char.from_buffer(code))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(at)()\n"
    )
    assert box.run([box.python, "-c", door]).code in (-31, -11)  # -11: a kernel without such calls


def test_the_lines_would_notice_a_box_without_its_filter(opened, outside, monkeypatch):
    """Planted: a filter that allows all. Then sockets, rings and modes outside are open at each level."""
    allow_all = (b"\x06\x00\x00\x00\x00\x00\xff\x7f",)
    monkeypatch.setattr("ouvert.sandbox.starting.filter_program", lambda *_, **__: allow_all[0])
    cell = opened().cell()
    cell.run(HELPERS)
    noticed = {
        what
        for what in ("make a UDP socket", "make a unix socket", "memory that no limit counts", "a message queue")
        if cell.run(f"print({ESCAPES[what]})").text.startswith("out")
    }
    assert noticed == {"make a UDP socket", "make a unix socket", "memory that no limit counts", "a message queue"}


def test_the_lines_would_notice_a_box_without_landlock(opened, outside, monkeypatch):
    """Planted: no Landlock. At the level that has nothing else, files outside can be read."""
    monkeypatch.setattr("ouvert.sandbox.starting.ruleset", lambda *_: None)
    box = opened()
    cell = box.cell()
    cell.run(HELPERS)
    said = cell.run(f"print({ESCAPES['read a file outside'].format(**outside)})").text
    other = cell.run("print(held(lambda: open('/etc/passwd').read()))").text
    assert said.startswith("held") or box.level is Level.LANDLOCK
    assert other.startswith("out" if box.level is Level.LANDLOCK else "held")
