"""`ouvert box`: the level, and code run in it as a person would; and the box in `ouvert doctor`."""

import json

import pytest

from ouvert.cli import main
from ouvert.cli.commands.box import box_of_level
from ouvert.sandbox import BoxRefusedError, Finding, Found, probe

HOLDS = probe().level is not None


def test_the_level_each_way_and_the_remedy_are_shown(capsys):
    status = main(["box"])
    said = capsys.readouterr().out
    assert status == (0 if HOLDS else 1)
    assert said.startswith(f"level: {probe().level.value}\n" if HOLDS else "level: none")
    assert all(each.detail in said for each in probe().findings)
    assert main(["box", "show", "--json"]) == status
    assert json.loads(capsys.readouterr().out) == probe().facts()
    assert main(["box", "--json"]) == status
    assert json.loads(capsys.readouterr().out) == probe().facts()
    assert main(["box", "--json", "run", "code.py"]) == 1
    assert "Leave it out" in capsys.readouterr().err


def test_a_level_that_does_not_hold_is_refused_by_its_name(monkeypatch):
    none = Found(None, (Finding("Landlock", False, "not in this kernel"),), "Get one.")
    monkeypatch.setattr("ouvert.sandbox.probe_level", lambda level: none)
    with pytest.raises(
        BoxRefusedError, match=r"box of level landlock: .* Landlock: not in this kernel\. Leave --level"
    ):
        box_of_level("landlock")


def test_a_file_runs_and_what_it_leaves_is_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text("open('made.txt', 'w').write('made inside')\nprint('hello')\n6 * 7")
    status = main(["box", "run", "code.py", "--keep", "made.txt"])
    said = capsys.readouterr()
    if HOLDS:
        assert (status, said.out) == (0, "hello\n42\n")
        assert f"level: {probe().level.value}]" in said.err
        assert (tmp_path / "made.txt").read_text() == "made inside"
    else:
        assert status == 1
        assert "Nothing was run" in said.err


def test_what_goes_wrong_has_its_sentence_and_its_status(capsys, tmp_path):
    (tmp_path / "fails.py").write_text("print('\\x1b[31mred')\nopen('/etc/passwd')")
    assert main(["box", "run", str(tmp_path / "fails.py")]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out
    assert "FileNotFoundError" in said.out or "PermissionError" in said.out or not HOLDS
    (tmp_path / "endless.py").write_text("while True: pass")
    assert main(["box", "run", str(tmp_path / "endless.py"), "--seconds", "0.2"]) == 1
    assert "interrupted after" in capsys.readouterr().err or not HOLDS
    assert main(["box", "run", str(tmp_path / "missing.py")]) == 1
    assert "Expected a Python file" in capsys.readouterr().err


@pytest.fixture
def nothing(monkeypatch):
    found = Found(None, (Finding("Landlock", False, "not in this kernel"),), "Do this.")
    monkeypatch.setattr("ouvert.sandbox.probe", lambda: found)
    monkeypatch.setattr("ouvert.sandbox.box.probe", lambda: found)


def test_where_there_is_none_nothing_runs_and_doctor_says_so(nothing, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    (tmp_path / "code.py").write_text("print('it ran')")
    assert main(["box", "run", str(tmp_path / "code.py")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Landlock: not in this kernel. Do this. Nothing was run." in said.err
    assert main(["doctor", "--json"]) == 1
    findings = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["about"] == "box"]
    assert [each["remedy"] for each in findings] == [None, "Do this."]
    assert findings[0]["found"] == "not Landlock: not in this kernel"


def test_doctor_says_the_level(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    main(["doctor", "--json"])
    last = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["about"] == "box"][-1]
    assert last["found"].startswith(f"level {probe().level.value}: " if HOLDS else "none: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--seconds", "nan"), ("--seconds", "-1"), ("--seconds", "inf"), ("--memory", "-5"), ("--memory", "9" * 30)],
)
def test_a_bound_that_is_none_is_refused(capsys, option, value):
    with pytest.raises(SystemExit, match="2"):
        main(["box", "run", "code.py", option, value])
    assert f"{value!r} is not a" in capsys.readouterr().err


def test_a_device_without_end_is_no_code(capsys):
    assert main(["box", "run", "/dev/zero"]) == 1
    assert "it is longer than 16 MB" in capsys.readouterr().err
