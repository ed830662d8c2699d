"""The Dockerfile as far as it can be looked at without a container engine: what it runs and copies is there."""

import json
import re
from pathlib import Path

from ouvert.cli import build_parser
from ouvert.cli.settings import VARIABLES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def said(instruction):
    [words] = re.findall(rf"^{instruction} (\[.*\])$", TEXT, re.M)
    return json.loads(words)


def test_what_it_runs_is_a_command_with_these_options():
    assert said("ENTRYPOINT") == ["ouvert"]
    args = build_parser("serve").parse_args(said("CMD"))
    assert args.host == "0.0.0.0"  # a container's own addresses; it needs a key for that


def test_its_variables_and_port_are_ours():
    names = re.findall(r"\b(OUVERT_\w+)=", TEXT)
    assert names
    assert set(names) <= set(VARIABLES)
    [port] = re.findall(r"^EXPOSE (\d+)$", TEXT, re.M)
    from ouvert.cli.settings import SETTINGS

    assert int(port) == SETTINGS["serve.port"].default
    assert f"127.0.0.1:{port}/health" in TEXT


def test_what_is_left_out_is_nothing_that_is_built():
    left_out = [line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().split()]
    for needed in ("src", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        assert (ROOT / needed).exists()
        assert not any(needed == name or needed.startswith(name.rstrip("*") + "/") for name in left_out)
