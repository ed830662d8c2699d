"""Level `wasm`: what differs from the others, how its component comes to be there, and when the ladder chooses it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from tests.sandbox.ways import in_wasm

from ouvert.sandbox import (
    Box,
    BoxError,
    BoxRefusedError,
    Died,
    Found,
    Level,
    Output,
    build_command,
    prepare,
    probe,
    probe_level,
)
from ouvert.sandbox import component as components
from ouvert.sandbox.component import FACTS, NAME, built, key
from ouvert.sandbox.probe import EXPECTED_WASM, try_way

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prepared(component, tmp_path, monkeypatch):
    """A user's own folder of components, with the one that was built."""
    folder = tmp_path / "cache"
    shutil.copytree(component.path.parent, folder / key())
    monkeypatch.setattr(components, "default_folder", lambda: folder)
    return folder


@pytest.fixture
def nothing_better(monkeypatch):
    probing = sys.modules["ouvert.sandbox.probe"]  # the part has a function of that name
    monkeypatch.setattr(probing, "bwraps", lambda: iter([("namespaces", None, "bwrap is not installed")]))
    monkeypatch.setattr(probing, "landlock_version", lambda: (0, "not in this kernel"))


# --- cells ------------------------------------------------------------------------------------------------------------


@in_wasm
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)", "while True: print('y' * 1000)"])
def test_code_whose_time_is_up_is_ended_and_the_next_run_begins_anew(cell, code):
    cell.run("x = 5\nopen('kept.txt', 'w').write('here')")
    result = cell.run(f"print('on')\n{code}", seconds=0.5)
    assert isinstance(result, Died)
    assert "ended after 0.5 seconds, since code in WebAssembly cannot be interrupted" in result.reason
    assert result.text.startswith("on\n")
    assert len(result.text) < 51_000
    assert result.seconds < 20
    assert "NameError" in cell.run("x").text
    assert cell.run("open('kept.txt').read()").text == "'here'\n"


@in_wasm
def test_the_clock_of_one_run_does_not_end_the_next(cell):
    cell.run("x = 1", seconds=0.4)
    assert (
        cell.run("import time\nend = time.time() + 1\nwhile time.time() < end: x += 1\n'over'", 30).text == "'over'\n"
    )


@in_wasm
def test_the_end_of_its_process_and_a_stack_too_deep_are_told(cell):
    assert "ended with status 1" in cell.run("import os; os._exit(3)").reason
    result = cell.run("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): return [f() for _ in '1']\nf()")
    assert isinstance(result, Died) or "RecursionError" in result.text
    assert cell.run("1 + 1").text == "2\n"


@in_wasm
def test_what_it_has_and_what_it_says_it_has_not(cell):
    code = "import asyncio, csv, decimal, json, sqlite3, statistics, zipfile\nstatistics.mean([1, 2, 6])"
    assert cell.run(code).text == "3\n"
    assert (
        "'numpy': this Python runs in WebAssembly and has its standard library alone" in cell.run("import numpy").text
    )
    assert "No module named 'nowhere'\n" in cell.run("import nowhere").text
    assert "start new thread" in cell.run("import threading; threading.Thread(target=print).start()").text
    assert "does not support processes" in cell.run("import subprocess; subprocess.run(['/bin/true'])").text
    assert cell.run("import random; random.random()").text != cell.run("import random; random.random()").text


@in_wasm
def test_chance_differs_from_box_to_box(opened):
    """The component was made with a state of `random`: each cell gets its own."""
    first, second = (opened(name).cell().run("import random; random.random()").text for name in ("a", "b"))
    assert first != second


@in_wasm
def test_modules_and_files_of_its_folder_are_found(box, cell):
    (box.folder / "mine.py").write_text("word = 'imported'")
    os.chmod(box.folder / "mine.py", 0o644)
    assert cell.run("import mine; mine.word, open('/mnt/data/mine.py').read()[:4]").text == "('imported', 'word')\n"
    assert box.data == "/mnt/data"
    cell.run("open('out.bin', 'wb').write(bytes(1000))")
    assert box.keep("out.bin", box.folder.parent / "kept.bin").stat().st_size == 1000


@in_wasm
def test_what_is_shown_can_be_read_and_not_written_and_is_a_folder(opened, tmp_path):
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/a.txt").write_text("to be read")
    for path in (tmp_path / "shown", tmp_path / "shown/a.txt"):
        path.chmod(0o777)
    cell = opened(read_only=[tmp_path / "shown"]).cell()
    assert cell.run(f"open('{tmp_path}/shown/a.txt').read()").text == "'to be read'\n"
    for line in (f"open('{tmp_path}/shown/a.txt', 'w')", f"open('{tmp_path}/shown/b.txt', 'w')"):
        assert "Error" in cell.run(line).text
    assert (tmp_path / "shown/a.txt").read_text() == "to be read"
    assert [each.name for each in (tmp_path / "shown").iterdir()] == ["a.txt"]
    with pytest.raises(BoxError, match=r"a\.txt is a file, expected a folder to show at level wasm"):
        opened("other", read_only=[tmp_path / "shown/a.txt"]).cell().run("1")


@in_wasm
def test_links_that_lead_out_of_the_folder_are_not_followed(box, cell, tmp_path):
    """Those that were made outside, too: code in WebAssembly makes none to an absolute path."""
    (tmp_path / "secret").write_text("the secret")
    (tmp_path / "secret").chmod(0o666)
    (box.folder / "inside.txt").write_text("inside")
    (box.folder / "inside.txt").chmod(0o644)
    for name, target in {
        "a": tmp_path / "secret",
        "b": "../secret",
        "c": tmp_path,
        "d": "..",
        "e": "inside.txt",
    }.items():
        (box.folder / name).symlink_to(target)
    for path in ("a", "b", "c/secret", "d/secret", "./b", "/mnt/data/../../secret", "/mnt/data/b", "//mnt/data/a"):
        assert "Error" in cell.run(f"open({path!r}).read()").text, path
        assert "Error" in cell.run(f"open({path!r}, 'w')").text, path
    assert cell.run("open('e').read()").text == "'inside'\n"
    assert "Error" in cell.run("import os; os.link('../secret', 'mine')").text
    assert "Error" in cell.run("import os; os.rename('e', '../out')").text
    assert "Error" in cell.run("import os; os.listdir('d')").text
    assert (tmp_path / "secret").read_text() == "the secret"


@in_wasm
def test_there_is_no_network(cell):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for line in (
            f"socket.create_connection(('127.0.0.1', {port}), 2)",
            f"socket.socket(socket.AF_INET).connect(('127.0.0.1', {port}))",
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
            "socket.socket(socket.AF_INET).bind(('127.0.0.1', 0))",
            "socket.getaddrinfo('localhost', 80)",
        ):
            last = cell.run(f"import socket\n{line}", 20).text.splitlines()[-1]
            assert last.startswith(("OSError", "PermissionError", "socket.gaierror")), (line, last)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


@in_wasm
def test_programs_are_refused_with_the_reason(box):
    for start in (lambda: box.run(["/bin/true"]), lambda: box.start(["/bin/cat"])):
        with pytest.raises(BoxRefusedError, match=r"level wasm alone.*no programs or packages.*Install bubblewrap"):
            start()


@in_wasm
def test_forged_replies_fool_the_box_alone(cell):
    """The function that answers is in reach of the code, which can make it say anything: it is output, and no more."""
    code = 'import json\njson.dumps = lambda facts: \'{"status": [], "number": %d}\''
    assert isinstance(cell.run(code % 1), Output)
    assert cell.run("1").reason.count("what it answered was no answer") == 1
    assert "no answer" in cell.run("import json\njson.dumps = lambda facts: 'x' * (3 << 20)").reason
    assert cell.run("2 + 2").text == "4\n"


PARENT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from ouvert.sandbox import Box, Found, Level
cell = Box({folder!r}, found=Found(Level.WASM, (), None, component=Path({component!r}))).cell()
cell.run("1")
print(cell._process._process.pid, flush=True)
cell.run("{code}", 600)
"""


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(600)", "while True: print('y' * 1000)"])
def test_kill_9_of_whoever_asked_leaves_no_process(component, tmp_path, code):
    path = [each for each in sys.path if each]
    text = PARENT.format(path=path, folder=str(tmp_path / "f"), component=str(component.path), code=code)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        time.sleep(0.2)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- the probe and the ladder -----------------------------------------------------------------------------------------


def test_where_nothing_better_holds_python_in_webassembly_is_the_box(prepared, nothing_better, tmp_path):
    found = probe.__wrapped__()
    assert found.level is Level.WASM
    assert [each.works for each in found.findings] == [False, False, True]
    assert "bubblewrap" in found.remedy or "namespaces" in found.remedy
    with Box(tmp_path / "f", found=found) as box:
        assert box.level.value == "wasm"
        assert box.cell().run("6 * 7").text == "42\n"
    with pytest.raises(BoxRefusedError, match="opening a box for a program"):
        found.require_programs()


def test_a_level_is_asked_for_by_itself(prepared):
    found = probe_level.__wrapped__(Level.WASM)
    assert (found.level, len(found.findings), found.remedy) == (Level.WASM, 1, None)
    shutil.rmtree(prepared / key())
    found = probe_level.__wrapped__(Level.WASM)
    assert found.level is None
    assert found.remedy.startswith("For Python alone")


@pytest.mark.parametrize("name", ["HOME", "LANG", "A"])
def test_the_probe_holds_whatever_variables_whoever_asks_has(component, monkeypatch, name):
    """Its own HOME is not one of theirs, in whichever order they come."""
    for each in list(os.environ):
        if each not in ("PATH", "PYTEST_CURRENT_TEST"):
            monkeypatch.delenv(each)
    monkeypatch.setenv(name, "theirs")
    assert try_way(Level.WASM, None, 0, component=component.path) == ""


def test_the_probe_notices_a_variable(component, tmp_path, monkeypatch):
    """Planted: one that the cell did not set."""
    monkeypatch.setattr(sys.modules["ouvert.sandbox.probe"], "INSIDE", tmp_path)
    code = (components.INSIDE / "wasm_attempts.py").read_text()
    (tmp_path / "wasm_attempts.py").write_text(f"import os\nos.environ['SECRET'] = 'theirs'\n{code}")
    assert "variables of whoever asked: True" in try_way(Level.WASM, None, 0, component=component.path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda place: shutil.rmtree(place), "not built for this release on this machine"),
        (lambda place: (place / FACTS).write_text("{}"), "cannot be read"),
        (lambda place: (place / NAME).write_bytes(b"other"), "its digest is another one"),
        (lambda place: (place / NAME).chmod(0o666), "can be written by one"),
    ],
)
def test_a_component_that_cannot_be_trusted_is_no_level_and_its_reason_is_said(prepared, nothing_better, spoil, said):
    spoil(prepared / key())
    found = probe.__wrapped__()
    assert found.level is None
    assert said in found.findings[-1].detail
    with pytest.raises(BoxRefusedError, match=r"Nothing was run\.$"):
        found.require()


def test_what_was_built_for_another_machine_does_not_hold(prepared):
    """Native code that wasmtime did not make for this machine is not started: its head says so."""
    place = prepared / key()
    body = b"\x7fELF" + bytes(4096)
    (place / NAME).write_bytes(body)
    facts = json.loads((place / FACTS).read_text())
    facts["sha256"] = components.hashlib.sha256(body).hexdigest()
    (place / FACTS).write_text(json.dumps(facts))
    assert built(prepared)[1] == ""
    found = probe_level.__wrapped__(Level.WASM)
    assert found.level is None
    assert found.findings[-1].detail.startswith("failed: ")


def test_the_probe_notices_a_box_that_does_not_hold(component, monkeypatch):
    """Planted: the whole machine is shown to it, to write in."""
    from ouvert.sandbox import wasm_process

    plain = wasm_process.settings
    assert try_way(Level.WASM, None, 0, component=component.path) == ""
    monkeypatch.setattr(wasm_process, "settings", lambda place: plain(place) | {"folder": "/", "data": "/"})
    said = try_way(Level.WASM, None, 0, component=component.path)
    assert said.startswith(("the box does not hold (reads a file outside: True", "the probe did not answer"))


def test_every_answer_of_the_probe_is_looked_at():
    source = (components.INSIDE / "wasm_attempts.py").read_text()
    assert all(f'"{what}":' in source for what in EXPECTED_WASM)


# --- the component ----------------------------------------------------------------------------------------------------


def test_it_is_built_once_and_says_with_what(component):
    assert set(component.built_with) == {"wasmtime", "componentize-py"}
    before = component.path.stat().st_mtime_ns
    assert prepare(component.path.parents[1]) == component
    assert component.path.stat().st_mtime_ns == before


def test_without_its_packages_it_is_not_built_and_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "release", lambda package: None)
    monkeypatch.setattr(components, "find_spec", lambda name: None)
    with pytest.raises(BoxError, match=r"wasmtime and componentize-py not installed.*pip install componentize-py=="):
        prepare(tmp_path / "cache")
    assert built(tmp_path / "cache")[1].startswith("wasmtime is not installed (python -m pip install")
    assert not (tmp_path / "cache").exists()


def test_what_is_told_to_install_is_what_the_extra_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert tuple(project["optional-dependencies"]["portable"]) == components.PACKAGES


def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "build_command", lambda: (sys.executable, "-c", "raise SystemExit('no room')"))
    with pytest.raises(BoxError, match=r"ended with status 1, expected 0\. It said: no room\."):
        prepare(tmp_path / "cache")
    assert [each.name for each in (tmp_path / "cache").iterdir()] in ([], ["lock"])


UNDER_GUARD = """
import subprocess, sys
from pathlib import Path
from ouvert.safety import Denied, guard
from ouvert.sandbox import Box, Found, Level, box_commands
g = guard()
g.admit_boxes(box_commands())
with Box(sys.argv[1], found=Found(Level.WASM, (), None, component=Path(sys.argv[2]))) as box:
    print(box.cell().run("6 * 7").text.strip())
for command in ([sys.executable, "-c", "1"], {build!r}):
    try:
        subprocess.run(command)
        print("it ran")
    except Denied:
        pass
print(g.counts.allowed)
"""


def test_under_a_guard_that_was_told_of_boxes_a_cell_runs_and_nothing_is_built(component, tmp_path):
    code = UNDER_GUARD.format(build=[*build_command(), str(tmp_path)])
    words = [sys.executable, "-c", code, str(tmp_path / "f"), str(component.path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (ran.stdout.splitlines(), ran.stderr) == (["42", "0"], "")


def test_the_tool_of_agents_says_what_is_not_there(wasm, tmp_path, monkeypatch):
    from contextlib import ExitStack
    from types import SimpleNamespace

    from ouvert.agents.builtin import python

    monkeypatch.setattr("ouvert.sandbox.box.probe", lambda: wasm)
    with ExitStack() as stack:
        [tool] = python.open_python(SimpleNamespace(name="worker"), tmp_path / "files", stack)
        assert "no numpy" in tool.description
        said = tool.call({"code": "print(6 * 7)"})
        assert (said.text, said.beside, said.ok) == ("42", {"box": "wasm"}, True)


def test_documents_are_refused_with_the_reason(wasm, monkeypatch):
    from ouvert.documents import DocumentError, boxed, in_a_box

    monkeypatch.setattr(boxed, "probe", lambda: wasm)
    with pytest.raises(DocumentError, match=r"level wasm alone.*Install bubblewrap"):
        boxed.read("a.md", b"# words", in_a_box())


def test_the_command_runs_a_file_at_the_level_that_is_asked_for(prepared, tmp_path, capsys, monkeypatch):
    from ouvert.cli import main

    monkeypatch.setenv("OUVERT_GUARD", "off")
    (tmp_path / "code.py").write_text("import sys\nprint(sys.platform)")
    probe_level.cache_clear()
    try:
        assert main(["box", "run", str(tmp_path / "code.py"), "--level", "wasm"]) == 0
        said = capsys.readouterr()
        assert said.out == "wasi\n"
        assert "level: wasm]" in said.err
        assert main(["box", "prepare"]) == 0
        assert "level: wasm\n" in capsys.readouterr().out
        assert isinstance(probe_level(Level.WASM), Found)
    finally:
        probe_level.cache_clear()
