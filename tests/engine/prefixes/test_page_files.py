"""Pages as files: what is read is what was written, or nothing."""

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert.engine import EngineError
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.prefixes.whole_files import begun

from .strangers import STRANGERS

KEY = bytes(range(32))
QUOTA = 10_000_000


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request):
    return request.param


@pytest.fixture
def files(tmp_path, key):
    return PageFiles(tmp_path / "pages", quota=QUOTA, key=key)


def only_file(folder):
    [path] = folder.rglob("*.page")
    return path


def test_what_is_written_is_read(files, tmp_path, key):
    name = files.name(files.root({"weights": "a"}), [1, 2, 3])
    files.write(name, b"page" * 1000)
    again = PageFiles(tmp_path / "pages", quota=QUOTA, key=key)
    assert again.holds(name)
    assert bytes(again.read(name)) == b"page" * 1000
    assert (again.usage().hits, again.usage().files) == (1, 1)


def test_names_depend_on_all_before_them(files):
    root, other = files.root({"weights": "a"}), files.root({"weights": "b"})
    names = {
        files.name(root, [1]), files.name(other, [1]), files.name(root, [1, 1]), files.name(root, [11]),
        files.name(files.name(root, [1]), [1]), files.name(files.name(root, [2]), [1]),
    }  # fmt: skip
    assert len(names) == 6
    assert files.name(root, [1]) == files.name(files.root({"weights": "a"}), (1,))


def test_with_a_key_neither_names_nor_contents_say_anything(tmp_path):
    plain, sealed = PageFiles(tmp_path / "a", quota=QUOTA), PageFiles(tmp_path / "b", quota=QUOTA, key=KEY)
    assert plain.root({}) != sealed.root({})
    name = sealed.name(sealed.root({}), [1])
    sealed.write(name, b"secret" * 100)
    assert b"secret" not in only_file(tmp_path).read_bytes()


@pytest.mark.parametrize("other", [None, bytes(32)])
def test_another_key_reads_nothing(tmp_path, other):
    sealed = PageFiles(tmp_path, quota=QUOTA, key=KEY)
    sealed.write("ab" * 32, b"page")
    assert PageFiles(tmp_path, quota=QUOTA, key=other).read("ab" * 32) is None


def test_a_file_under_another_name_is_a_miss(files, tmp_path):
    files.write("ab" * 32, b"page")
    path = only_file(tmp_path)
    path.rename(path.with_name(f"{'ab' * 31}cd.page"))
    assert files.read("ab" * 31 + "cd") is None
    assert files.usage().damaged == 1
    assert not list(tmp_path.rglob("*.page"))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_byte_changed_is_a_miss(files, tmp_path, place, flip):
    files.write("ab" * 32, b"page" * 50)
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    assert files.read("ab" * 32) is None


def test_cut_short_anywhere_is_a_miss(files, tmp_path):
    files.write("ab" * 32, b"page" * 20)
    whole = only_file(tmp_path).read_bytes()
    path = only_file(tmp_path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert files.read("ab" * 32) is None, length
    path.write_bytes(whole + b"!")
    assert files.read("ab" * 32) is None


def test_many_are_read_in_order_and_what_is_missing_is_none(files):
    names = [files.name("", [n]) for n in range(30)]
    for n, name in enumerate(names):
        if n != 17:
            files.write(name, bytes([n]) * 1000)
    found = [None if page is None else page[0] for page in files.read_many(names)]
    assert found == [n if n != 17 else None for n in range(30)]
    assert list(files.read_many([])) == []
    some = files.read_many(names)
    next(some)
    some.close()  # a reader that stops early leaves nothing behind
    assert not [each for each in threading.enumerate() if "pages-check" in each.name]


def test_the_least_recently_used_go_where_the_quota_is_reached(tmp_path):
    files = PageFiles(tmp_path, quota=5000)
    names = [files.name("", [n]) for n in range(4)]
    for ago, name in zip((40, 30, 20, 10), names, strict=True):
        files.write(name, b"x" * 1000, used=time.time() - ago)
    files.touch(names[:2])
    for n in range(4, 6):
        files.write(files.name("", [n]), b"x" * 1000)
    assert [files.holds(name) for name in names[:3]] == [True, True, False]
    assert files.usage().bytes <= 5000


def test_ends_go_before_what_they_continue(tmp_path):
    files = PageFiles(tmp_path, quota=4000)
    names = [files.name("", [n]) for n in range(3)]
    for name in names:
        files.write(name, b"x" * 1000)
    files.touch(names)
    files.write(files.name("", [9]), b"x" * 1000)
    assert [files.holds(name) for name in names] == [True, True, False]


def test_what_was_used_before_all_others_makes_no_room_for_itself(tmp_path):
    """A prompt too long for the quota keeps its beginning, which is of use, and not its end, which alone is of none."""
    files = PageFiles(tmp_path, quota=4000)
    began = time.time()
    names = [files.name("", [n]) for n in range(9)]
    for n, name in enumerate(names):
        files.write(name, b"x" * 1000, began - n)
    assert [files.holds(name) for name in names] == [True] * 3 + [False] * 6
    assert files.usage().unwritten == 0  # nothing failed
    files.write(files.name("", [9]), b"x" * 1000, began + 1)
    assert [files.holds(name) for name in names] == [True] * 2 + [False] * 7


def test_processes_that_share_a_folder_keep_one_quota(tmp_path):
    """Each counts what it writes, and often enough the folder."""
    quota = 100_000
    first, second = PageFiles(tmp_path, quota=quota), PageFiles(tmp_path, quota=quota)
    for n in range(300):
        (first, second)[n % 2].write(first.name("", [n]), b"x" * 1000)
        if n % 9 == 0:
            assert first.usage().bytes <= quota * 1.1


def test_a_page_larger_than_the_quota_is_not_written(tmp_path):
    files = PageFiles(tmp_path, quota=100)
    files.write("ab" * 32, b"x" * 1000)
    assert not files.holds("ab" * 32)


def test_only_the_owner_may_look(files, tmp_path):
    files.write("ab" * 32, b"page")
    path = only_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_where_others_may_write_nothing_is_believed(tmp_path):
    """A digest shows damage, not who made the page."""
    said = []
    files = PageFiles(tmp_path / "pages", quota=QUOTA, say=said.append)
    files.write("ab" * 32, b"page")
    (tmp_path / "pages").chmod(0o777)
    assert not files.holds("ab" * 32)
    assert files.read("ab" * 32) is None
    files.write("cd" * 32, b"page")
    files.write("cd" * 32, b"page")
    assert len(said) == 1
    assert f"chmod 700 {tmp_path / 'pages'}" in said[0]
    (tmp_path / "pages").chmod(0o700)
    assert files.read("ab" * 32) == b"page"
    assert files.read("cd" * 32) is None


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_with_a_key_others_may_write_what_they_like(tmp_path):
    tmp_path.chmod(0o777)
    files = PageFiles(tmp_path, quota=QUOTA, key=KEY)
    files.write("ab" * 32, b"page")
    assert files.read("ab" * 32) == b"page"


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_folder_that_may_not_be_read_or_written_costs_no_answer(tmp_path):
    """As after `sudo ouvert`: run by somebody who is not root, since root may do everything."""
    PageFiles(tmp_path / "pages", quota=QUOTA).write("ab" * 32, b"page")
    (tmp_path / "pages").chmod(0)
    script = (
        "import os, sys; from pathlib import Path; from ouvert.engine import EngineError\n"
        "from ouvert.engine.prefixes.page_files import PageFiles\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "files = PageFiles(Path('pages'), quota=10**9, say=print)\n"
        "names = ['ab' * 32, 'cd' * 32]\n"
        "print(files.holds(names[0]), files.read(names[0]), list(files.read_many(names)))\n"
        "files.touch(names)\n"
        "files.write(names[1], b'x')\n"
        "print(files.usage().unwritten, files.usage().misses)\n"
    )
    try:
        command = [sys.executable, "-c", script, tmp_path]
        for each in tmp_path.parents:  # pytest's own folders are closed to others
            if os.geteuid() == 0 and each.is_relative_to(tempfile.gettempdir()) and each != Path(tempfile.gettempdir()):
                each.chmod(0o711)
        tmp_path.chmod(0o711)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        (tmp_path / "pages").chmod(0o700)
    assert done.returncode == 0, done.stderr
    first, *said, last = done.stdout.splitlines()
    assert first == "False None [None, None]"
    assert len(said) == 1
    assert "Permission denied" in said[0]
    assert last == "1 3"


def test_what_a_killed_writer_left_goes_whatever_its_process_number(tmp_path):
    """In containers every process has the same number: a lock tells who is still writing."""
    files = PageFiles(tmp_path, quota=QUOTA)
    files.write("ab" * 32, b"page")
    folder = only_file(tmp_path).parent
    path, open_file = begun(folder)
    left = folder / ".0123456789abcdef.part"
    left.write_bytes(b"half")
    with open_file:
        PageFiles(tmp_path, quota=QUOTA)
        assert path.exists()
        assert not left.exists()
    PageFiles(tmp_path, quota=QUOTA)
    assert not path.exists()
    assert files.read("ab" * 32) == b"page"


def test_a_writer_taken_for_abandoned_begins_again(tmp_path, monkeypatch):
    """Between making a file and locking it somebody may tidy up."""
    made = []

    def tidied(file):
        if not made:
            Path(file.name if isinstance(file.name, str) else os.readlink(f"/proc/self/fd/{file.fileno()}")).unlink()
        made.append(file)
        return True

    monkeypatch.setattr("ouvert.engine.prefixes.whole_files.claim", tidied)
    path, file = begun(tmp_path)
    file.close()
    assert path.exists()
    assert len(made) == 2


def test_without_locks_age_tells_what_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr("ouvert.engine.prefixes.whole_files.claim", lambda file: None)
    (tmp_path / "ab").mkdir()
    old, new = tmp_path / "ab" / ".old.part", tmp_path / "ab" / ".new.part"
    for each in (old, new):
        each.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    files = PageFiles(tmp_path, quota=QUOTA)
    assert (old.exists(), new.exists()) == (False, True)
    files.write("ab" * 32, b"page")
    assert files.read("ab" * 32) == b"page"


@pytest.mark.parametrize("call", ["open", "replace", "mkdir"])
def test_a_full_disk_is_said_once_and_answers_go_on(tmp_path, monkeypatch, call):
    said = []
    files = PageFiles(tmp_path, quota=QUOTA, say=said.append)

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(f"ouvert.engine.prefixes.page_files.os.{call}", full)
        files.write("ab" * 32, b"page")
        files.write("cd" * 32, b"page")
    assert len(said) == 1
    assert "No space left" in said[0]
    assert files.usage().unwritten == 2
    assert not list(tmp_path.rglob("*.pa*"))
    files.write("ab" * 32, b"page")
    assert files.read("ab" * 32) == b"page"


def test_a_disk_that_fills_in_the_middle_of_a_page_leaves_nothing(tmp_path):
    """A limit on file sizes stands for the disk: the write comes up short, then fails."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from ouvert.engine.prefixes.page_files import PageFiles\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "files = PageFiles(Path(sys.argv[1]), quota=10**9, say=print)\n"
        "files.write('ab' * 32, b'x' * 1_000_000)\n"
        "files.write('cd' * 32, b'x' * 1_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    files = PageFiles(tmp_path, quota=QUOTA)
    assert not files.holds("ab" * 32)
    assert files.read("cd" * 32) == b"x" * 1000
    assert not list(tmp_path.rglob("*.part"))


def test_a_writer_that_is_killed_leaves_nothing_that_is_read(tmp_path, key):
    script = (
        "import sys; from pathlib import Path; from ouvert.engine.prefixes.page_files import PageFiles\n"
        "files = PageFiles(Path(sys.argv[1]), quota=10**10, key=bytes.fromhex(sys.argv[2]) or None)\n"
        "print('ready', flush=True)\n"
        "n = 0\n"
        "while True:\n"
        "    files.write(files.name('', [n % 50]), bytes([n % 50]) * 1_000_000)\n"
        "    n += 1\n"
        "    print(n, flush=True)\n"
    )
    for pages in (0, 3, 20):
        command = [sys.executable, "-c", script, str(tmp_path), (key or b"").hex()]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            for _ in range(1 + pages):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)  # it is writing the next page
        files = PageFiles(tmp_path, quota=QUOTA, key=key)
        assert not list(tmp_path.rglob("*.part"))
        for n in range(50):
            page = files.read(files.name("", [n]))
            assert page is None or page == bytes([n]) * 1_000_000
        assert files.usage().damaged == 0


WRITER = (
    "import sys; from pathlib import Path; from ouvert.engine.prefixes.page_files import PageFiles\n"
    "files = PageFiles(Path(sys.argv[1]), quota=50_000, key=bytes.fromhex(sys.argv[2]) or None, say=print)\n"
    "for n in range(120):\n"
    "    files.write(files.name('', [n % 20]), bytes([n % 20]) * 4000)\n"
    "    other = n * 7 % 20\n"
    "    page = files.read(files.name('', [other]))\n"
    "    assert page is None or page == bytes([other]) * 4000\n"
    "    if n == 60: files.clear()\n"
    "usage = files.usage()\n"
    "assert usage.damaged == usage.unwritten == 0, usage\n"
    "assert usage.hits, usage\n"
)


def test_processes_that_write_the_same_do_no_harm(tmp_path, key):
    command = [sys.executable, "-c", WRITER, str(tmp_path), (key or b"").hex()]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [child.communicate() for child in children]
    assert ended == [("", "")] * 3
    assert [child.returncode for child in children] == [0] * 3


def test_threads_that_write_the_same_do_no_harm(tmp_path, key):
    def work():
        files = PageFiles(tmp_path, quota=50_000, key=key)
        for n in range(200):
            files.write(files.name("", [n % 20]), bytes([n % 20]) * 4000)
            page = files.read(files.name("", [(n * 7) % 20]))
            assert page is None or page == bytes([(n * 7) % 20]) * 4000
            if n == 100:
                files.clear()

    problems = []
    threads = [threading.Thread(target=lambda: problems.append(caught(work))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [None] * 3


def caught(work):
    try:
        work()
    except Exception as problem:
        return problem


def test_clearing_says_how_much_was_freed(files):
    assert files.clear() == 0
    files.write("ab" * 32, b"x" * 1000)
    assert files.clear() >= 1000
    assert files.usage().files == 0
    files.write("ab" * 32, b"y")
    assert files.read("ab" * 32) == b"y"


def test_what_cannot_be_cleared_is_said(tmp_path, monkeypatch):
    files = PageFiles(tmp_path, quota=QUOTA)
    files.write("ab" * 32, b"page")

    def refused(*_args, **_more):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as broken:
        broken.setattr("ouvert.engine.prefixes.page_files.Path.unlink", refused)
        with pytest.raises(EngineError, match=r"clearing kept prefixes: .*not permitted"):
            files.clear()
    assert files.clear() > 0


# --- earlier pages ----------------------------------------------------------------------------------------------------


def test_pages_of_the_first_version_are_removed_and_it_is_said_once(tmp_path, key):
    old = tmp_path / "ab" / f"{'ab' * 32}.page"
    old.parent.mkdir()
    old.write_bytes(b"OUVPAGE1\0" + bytes(32) + b"words of a prompt")
    said = []
    assert PageFiles(tmp_path, quota=QUOTA, key=key, say=said.append).read("ab" * 32) is None
    assert not old.exists()
    assert len(said) == 1
    assert "1 kept pages" in said[0]
    PageFiles(tmp_path, quota=QUOTA, key=key, say=said.append)
    assert len(said) == 1


def test_plain_pages_go_where_pages_are_encrypted_now(tmp_path):
    PageFiles(tmp_path, quota=QUOTA).write("ab" * 32, b"words of a prompt")
    said = []
    files = PageFiles(tmp_path, quota=QUOTA, key=KEY, say=said.append)
    assert not list(tmp_path.rglob("*.page"))
    assert "not encrypted" in said[0]
    files.write("ab" * 32, b"words of a prompt")
    PageFiles(tmp_path, quota=QUOTA)
    assert only_file(tmp_path)  # an encrypted one harms nobody


# --- what is no file --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are POSIX's")
@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_stands_in_the_place_of_a_page_and_is_none_is_not_opened(files, tmp_path, stranger, monkeypatch):
    """Opening a FIFO would wait for ever: a server's first answer with it."""
    files.write("ab" * 32, b"page")
    path = only_file(tmp_path)
    path.unlink()
    opened = []
    really = os.open
    monkeypatch.setattr("os.open", lambda at, *rest: opened.append(str(at)) or really(at, *rest))
    stranger(path, tmp_path)
    assert not files.holds("ab" * 32)
    assert files.read("ab" * 32) is None
    assert list(files.read_many(["ab" * 32])) == [None]
    assert (files.usage().files, files.clear()) == (0, 0)
    assert str(path) not in opened
    assert os.path.lexists(path)


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are POSIX's")
def test_what_a_writer_left_that_is_no_file_is_not_opened(tmp_path, key):
    (tmp_path / "encrypted" / "ab").mkdir(parents=True)
    os.mkfifo(tmp_path / "encrypted" / "ab" / ".0123.part")
    (tmp_path / "encrypted" / "ab" / ".4567.part").symlink_to("/dev/zero")
    PageFiles(tmp_path, quota=QUOTA, key=key)
