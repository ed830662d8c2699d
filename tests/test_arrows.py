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


def test_every_part_is_imported_through_its_init():
    assert arrows.imports_around(SOURCE) == []


def test_no_files_of_one_part_import_each_other():
    assert arrows.circles(SOURCE) == []


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


def test_an_import_around_an_init_is_found(tmp_path):
    write_package(
        tmp_path,
        {
            "__init__.py": "from ouvert.engine import Engine\n",
            "engine/__init__.py": "from ouvert.engine.loop import Engine\n__all__ = ['Engine']\n",
            "engine/loop.py": "Engine = 1\nwords = 2\n",
            "cli/__init__.py": "def run():\n    from ouvert.engine.loop import Engine\n",
            "cli/list.py": "from ouvert import engine\nfrom ouvert.engine import Engine\nimport ouvert.engine\n",
            "cli/show.py": "from ouvert.engine import loop\nimport ouvert.engine.loop\n",
        },
    )
    assert arrows.imports_around(tmp_path / "ouvert") == [
        "cli/__init__.py: ouvert.engine.loop -> Engine",
        "cli/show.py: ouvert.engine -> loop",
        "cli/show.py: ouvert.engine.loop",
    ]


def test_a_circle_of_files_is_found(tmp_path):
    write_package(
        tmp_path,
        {
            "chat/__init__.py": "from .speaker import speak\n__all__ = ['speak']\n",
            "chat/speaker.py": "from ouvert.chat.room import ears\n",
            "chat/room/__init__.py": "",
            "chat/room/ears.py": "from ouvert.chat.listener import hear\n",
            "chat/listener.py": "def hear():\n    import ouvert.chat.speaker\n",
            "chat/typed.py": "if TYPE_CHECKING:\n    from ouvert.chat.typist import Typist\n",
            "chat/typist.py": "from ouvert.chat import typed\n",
            "chat/alone.py": "import ouvert.chat.speaker\nimport ouvert.serving.app\n",
            "serving/__init__.py": "from ouvert.serving.app import make",
            "serving/app.py": "from ouvert.serving import make\nimport ouvert.chat.alone\n",
        },
    )
    assert arrows.circles(tmp_path / "ouvert") == [
        ("chat/listener.py", "chat/room/ears.py", "chat/speaker.py"),
        ("chat/typed.py", "chat/typist.py"),
        ("serving/__init__.py", "serving/app.py"),
    ]


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (file := folder / "ouvert" / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
