"""The arrows between the parts, held to the table in arrows.py."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("arrows", Path(__file__).with_name("arrows.py"))
assert spec
assert spec.loader
arrows = importlib.util.module_from_spec(spec)
spec.loader.exec_module(arrows)

SOURCE = Path(__file__).parents[1] / "src" / "ouvert"


def test_every_import_follows_the_table():
    assert arrows.wrong_arrows(SOURCE) == []


def test_the_table_has_no_circle():
    seen: set[str] = set()
    for part, allowed in arrows.MAY_IMPORT.items():
        assert set(allowed.split()) <= seen, f"{part} points at something below it"
        seen.add(part)


@pytest.mark.parametrize("module", ["numpy", "tqdm", "jinja2", "tokenizers", "huggingface_hub", "prompt_toolkit"])
def test_the_command_starts_without_anything_heavy(module):
    import subprocess
    import sys

    program = f"import sys, ouvert.cli; sys.exit('{module}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_wrong_arrow_is_found(tmp_path):
    for part, text in {
        "models": "from ouvert.weights import safetensors\nfrom ouvert import kernels\n",
        "engine": "from ouvert.models.gpt_oss import graph\nimport numpy\n",
        "serving": "def route():\n    import ouvert.weights.gguf\nfrom ..chat import harmony\nfrom .sse import frame\n",
        "utils": "",
    }.items():
        (folder := tmp_path / "ouvert" / part).mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "a.py").write_text(text)
    found = [line.rpartition("/")[2] for line in arrows.wrong_arrows(tmp_path / "ouvert")]
    assert found == [
        "a.py:2: models may not import kernels",
        "a.py:2: serving may not import weights",
        "a.py:3: serving may not import <relative import out of its folder>",
        "utils: this part is not in the table",
    ]
