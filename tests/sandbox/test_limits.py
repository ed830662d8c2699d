"""What a box may take of the machine: memory, processes, disk, time, output; and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.sandbox.ways import at_every_level

from ouvert.sandbox import BoxError, Died, Level

MB = 1 << 20


def inside(box):
    """The processes of this machine that were started for the box: its folder is in their words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended
            if str(box.folder).encode() in words:
                found.append(int(entry.name))
    return found


@at_every_level
def test_one_process_that_wants_too_much_gets_an_error_and_goes_on(opened):
    cell = opened(memory=200 * MB).cell()
    result = cell.run(
        f"x = 1\ny = bytearray({1 << 30 if cell.level is Level.WASM else 5 << 30})"
    )  # 4 << 30 is none there
    assert "MemoryError" in result.text
    assert cell.run("x").text == "1\n"


def test_many_processes_that_want_too_much_together_are_ended(opened):
    """Each stays within its own limit; their sum does not."""
    cell = opened(memory=200 * MB).cell()
    code = (
        "import os, time\n"
        "for n in range(6):\n"
        "    if os.fork() == 0:\n"
        "        mine = bytearray(os.urandom(1 << 20) * 60)\n"
        "        time.sleep(30)\n"
        "time.sleep(30)"
    )
    result = cell.run(code, seconds=25)
    assert isinstance(result, Died)
    assert "more memory" in result.reason
    assert result.seconds < 24


def test_a_fork_bomb_finds_an_end_and_is_ended_whole(opened):
    box = opened(processes=32)
    code = (
        "import os, time\n"
        "count = 0\n"
        "try:\n"
        "    while count < 1000:\n"
        "        if os.fork() == 0:\n"
        "            while True: time.sleep(1)\n"
        "        count += 1\n"
        "except OSError: pass\n"
        "print(count)"
    )
    result = box.cell().run(code, seconds=20)
    if isinstance(result, Died):
        assert "more processes" in result.reason
    else:
        assert int(result.text) <= 32
    box.close()
    assert inside(box) == []


def test_a_bomb_that_forks_in_every_child_is_ended_whole(opened):
    box = opened(processes=32)
    code = f"import os  # {box.folder}\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    result = box.run([box.python, "-c", code], seconds=1.5)
    assert result.ended
    assert inside(box) == []


@at_every_level
def test_a_file_cannot_be_larger_than_the_folder_may_be(opened):
    cell = opened(disk=8 * MB).cell()
    said = cell.run("with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))").text
    assert ("I/O error" if cell.level is Level.WASM else "File too large") in said


@at_every_level
def test_a_zip_bomb_into_the_folder_is_ended(opened):
    """Many files, each small enough: 400 MB out of 400 kB."""
    box = opened(disk=8 * MB)
    code = (
        "import io, zipfile, time\n"
        "bomb = io.BytesIO()\n"
        "with zipfile.ZipFile(bomb, 'w', zipfile.ZIP_DEFLATED) as z:\n"
        "    for n in range(400): z.writestr(f'{n}', bytes(1 << 20))\n"
        "z = zipfile.ZipFile(bomb)\n"
        "for name in z.namelist():\n"
        "    with open(name, 'wb') as file: file.write(z.read(name))\n"
        "    time.sleep(0.01)"
    )
    result = box.cell().run(code, seconds=60)
    assert isinstance(result, Died)
    assert "box's folder" in result.reason
    assert sum(each.stat().st_size for each in box.folder.iterdir()) < 200 * MB


def test_memory_outside_of_processes_is_small(opened):
    """/tmp and /dev/shm are memory where they are the box's own: they have an end too."""
    box = opened()
    if box.level is Level.NAMESPACES:
        for place in ("/tmp", "/dev/shm"):
            code = f"with open('{place}/big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))"
            assert "No space left" in box.cell().run(code, seconds=30).text
        assert "Read-only" in box.cell().run("open('/dev/big', 'w')").text
        assert "Read-only" in box.cell().run("open('/big', 'w')").text
    else:
        assert "PermissionError" in box.cell().run("open('/dev/shm/big', 'w')").text


def test_a_program_that_takes_too_long_is_ended(box):
    result = box.run(["/bin/sleep", "60"], seconds=0.3)
    assert (result.code, result.ended) == (None, "it took more than 0.3 seconds")
    assert result.seconds < 50


def test_a_program_that_closes_its_output_and_goes_on_is_ended_too(box):
    code = "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)"
    assert box.run([box.python, "-c", code], seconds=0.5).ended == "it took more than 0.5 seconds"


def test_a_program_that_writes_too_much_is_ended(box):
    result = box.run(["/bin/sh", "-c", "yes"], output=100_000)
    assert (result.code, len(result.stdout)) == (None, 100_000)
    assert result.ended == "it wrote more than 100,000 bytes"


def test_a_program_has_its_input_its_output_and_its_status(box):
    result = box.run(["/bin/sh", "-c", "cat; echo wrong >&2; exit 3"], stdin=b"x" * 300_000)
    assert (result.code, result.ended, result.succeeded) == (3, "", False)
    assert (result.stdout, result.stderr) == (b"x" * 300_000, b"wrong\n")
    assert box.run(["/bin/true"], stdin=b"x" * 300_000).succeeded


def test_one_process_may_be_all_there_is(opened):
    """As documents are read: one process, no thread beside it."""
    box = opened(processes=1)
    assert box.run([box.python, "-c", "print(6 * 7)"]).stdout == b"42\n"
    forked = box.run([box.python, "-c", "import os, time\nif os.fork(): time.sleep(2)\nelse: time.sleep(2)"])
    assert forked.code != 0 or forked.ended


def test_a_long_lived_program_talks_through_its_pipes(box):
    with box.start(["/bin/cat"]) as running:
        for word in (b"one\n", b"two\n"):
            running.stdin.write(word)
            running.stdin.flush()
            assert running.stdout.readline() == word
        assert running.alive
        running.stdin.close()
        assert running.wait() == (0, "")
    with box.start([box.python, "-c", "import time; time.sleep(60)"], env={"NAME": "value"}) as running:
        pass
    assert not running.alive


def test_variables_are_the_boxs_own_and_what_is_given(box, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "not for the box")
    said = box.run(["/usr/bin/env"], env={"GIVEN": "yes"}).stdout.decode()
    assert "GIVEN=yes" in said
    assert "PYTHONHASHSEED=0" in said
    assert "SECRET_KEY" not in said


def test_a_program_that_is_not_in_the_box_is_named(box):
    with pytest.raises(BoxError, match=r"starting \['/no/such/program'\] in a box: No such file.*Expected a program"):
        box.run(["/no/such/program"])


PARENT = """
import sys
sys.path[:0] = {path!r}
from ouvert.sandbox import Box, Found, Level
box = Box({folder!r}, python={python!r}, found=Found(Level({level!r}), (), None, {bwrap!r}, {landlock!r}))
cell = box.cell()
cell.run("import os\\nif os.fork() == 0:\\n    os.setsid()\\n    while True: pass")
print("ready", flush=True)
cell.run("while True: pass", 600)
"""


def test_kill_9_of_whoever_asked_leaves_no_process(box):
    """Code that computes without end, a child in a session of its own: all gone when the asking process is killed."""
    code = PARENT.format(
        path=[each for each in sys.path if each],
        folder=str(box.folder),
        python=box.python,
        level=box.level.value,
        bwrap=box._place.bwrap,
        landlock=box._place.landlock,
    )
    before = set(inside(box))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        assert set(inside(box)) - before
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (left := set(inside(box)) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == set()
