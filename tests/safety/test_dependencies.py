"""SECURITY.md says of every package of the base install what it could reach, and how it is kept quiet."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from ouvert.safety import (
    REACHES,
    REACHES_OF_BOXES,
    REACHES_OF_COMPARISONS,
    REACHES_OF_DOCUMENTS,
    REACHES_OF_MCP,
    REACHES_OF_TUNING,
    REACHES_OF_WASM,
)

ROOT = Path(__file__).parents[2]
# Not among what a process that answers may have imported: they speak to others, or can.
OUTGOING = (
    "huggingface_hub",
    "hf_xet",
    "httpx2",
    "requests",
    "tqdm.contrib",
    "prompt_toolkit.contrib.telnet",
    "uvloop",
)
ANSWER = """
import sys
from pathlib import Path
import ouvert
from ouvert.store import Store
with ouvert.load(sys.argv[1], store=Store(Path(sys.argv[2])), guard=ouvert.guard()) as model:
    list(model.chat("Hi"))
print(*sys.modules)
"""


def tables():
    """Those of SECURITY.md's section: of the base install, of the extras of comparisons, of boxes,
    of documents, and of tuning."""
    section = (ROOT / "SECURITY.md").read_text().split("## What each dependency could reach")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")]
    starts = [n for n, row in enumerate(rows) if row[0] == "Package"]
    assert len(starts) == 7
    return [rows[begin + 1 : end] for begin, end in zip(starts, [*starts[1:], None], strict=True)]


def names(requirements):
    return sorted(re.match(r"[A-Za-z0-9_.-]+", each)[0] for each in requirements)


def test_every_dependency_is_in_the_list_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    base, comparisons, boxes, portable, servers, documents, tuning = tables()
    assert sorted(row[0] for row in base) == names(project["dependencies"])
    assert sorted(row[0] for row in comparisons) == names([*extras["report"], *extras["suites"]])
    assert sorted(row[0] for row in boxes) == names(extras["box"])
    assert sorted(row[0] for row in portable) == names(extras["portable"])
    assert sorted(row[0] for row in servers) == names(extras["mcp"])
    assert sorted(row[0] for row in documents) == names(extras["documents"])
    assert sorted(row[0] for row in tuning) == names(extras["tune"])


def test_what_doctor_prints_is_what_security_says():
    every = (
        REACHES, REACHES_OF_COMPARISONS, REACHES_OF_BOXES, REACHES_OF_WASM, REACHES_OF_MCP, REACHES_OF_DOCUMENTS,
        REACHES_OF_TUNING,
    )  # fmt: skip
    for rows, reaches in zip(tables(), every, strict=True):
        assert rows == [[each.package, each.could, each.silenced] for each in reaches]


def test_an_answer_imports_nothing_that_speaks_to_others(speaking_model, tmp_path):
    command = [sys.executable, "-c", ANSWER, str(speaking_model()), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "ouvert.store.hub" in ran.stdout.split()
    assert [name for name in ran.stdout.split() if name in OUTGOING] == []
