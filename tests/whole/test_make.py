"""What the Makefile does on a person's machine beside building: the link to the command, and words about compilers."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(tmp_path):
    """make(target, VARIABLE="…") with a home and an environment of its own, in which everything is installed."""
    venv, home = tmp_path / "venv", tmp_path / "home"
    (venv / "bin").mkdir(parents=True)
    home.mkdir()
    (venv / "bin" / "ouvert").write_text("#!/bin/sh\necho an answer\n")
    (venv / "bin" / "ouvert").chmod(0o755)
    for name in ("bin/python", "installed", "compiler"):
        (venv / name).touch()

    def run(target, path=os.environ["PATH"], **variables):
        words = ["make", "-s", "-o", f"{venv}/installed", target, f"VENV={venv}", f"HOME={home}"]
        words += [f"{name}={value}" for name, value in variables.items()]
        ran = subprocess.run(words, cwd=ROOT, env={"PATH": path, "HOME": str(home)}, capture_output=True, text=True)
        return ran.returncode, ran.stdout, ran.stderr

    run.venv, run.home = venv, home
    return run


def test_the_first_command_ends_with_the_line_to_type_next(make):
    status, said, _ = make("run")
    assert status == 0
    assert said.startswith("an answer\n")
    assert f"\n  {make.venv}/bin/ouvert run smollm2\n" in said
    assert "make install" in said
    make("install")
    _, said, _ = make("run", path=f"{make.home}/.local/bin:{os.environ['PATH']}")
    assert "\n  ouvert run smollm2\n" in said
    assert "make install" not in said


def test_install_links_the_command_and_says_what_the_shell_lacks(make):
    status, said, _ = make("install")
    link = make.home / ".local" / "bin" / "ouvert"
    assert status == 0
    assert link.readlink() == make.venv / "bin" / "ouvert"
    assert f'export PATH="{make.home}/.local/bin:$PATH"' in said
    _, said, _ = make("install", path=f"{link.parent}:{os.environ['PATH']}")
    assert "export" not in said
    assert make("uninstall")[0] == 0
    assert not link.is_symlink()


def test_install_does_not_take_the_place_of_what_is_not_ours(make):
    there = make.home / "own" / "bin" / "ouvert"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    status, _, said = make("install", PREFIX=make.home / "own")
    assert status != 0
    assert "is there already and is no link of ours" in said
    assert there.read_text() == "mine"


def test_a_machine_without_a_compiler_is_told_at_once_and_builds_when_it_has_one(make, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "make", "cat", "touch"):
        found = next(Path(folder, name) for folder in os.environ["PATH"].split(":") if Path(folder, name).exists())
        (tools / name).symlink_to(found)
    _, _, said = make(f"{make.venv}/compiler", path=str(tools))
    assert "some 30 times slower" in said
    assert "apt-get install g++" in said
    assert (make.venv / "compiler").read_text() == "none\n"
    (tools / "g++").write_text("#!/bin/sh\n")
    (tools / "g++").chmod(0o755)
    _, _, said = make(f"{make.venv}/compiler", path=str(tools))
    assert said == ""
    assert (make.venv / "compiler").read_text() == f"{tools}/g++\n"


def test_kernels_that_do_not_compile_end_a_developers_set_up_where_there_is_a_compiler(make, tmp_path):
    """scikit-build-core goes on without them, in silence, unless this variable is set."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "make", "cat", "touch"):
        (tools / name).symlink_to(shutil.which(name))
    python = make.venv / "bin" / "python"
    python.write_text('#!/bin/sh\necho "required: $OUVERT_KERNELS_REQUIRED"\nexit 1\n')
    python.chmod(0o755)
    assert make(f"{make.venv}/installed-dev", path=str(tools))[1] == "required: \n"
    (tools / "g++").write_text("#!/bin/sh\n")
    (tools / "g++").chmod(0o755)
    status, said, _ = make(f"{make.venv}/installed-dev", path=str(tools))
    assert (status, said) == (2, "required: 1\n")
    assert not (make.venv / "installed-dev").exists()
    [override] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]["overrides"]
    assert override["if"] == {"failed": True, "env": {"OUVERT_KERNELS_REQUIRED": False}}
