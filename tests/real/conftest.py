"""A real model of 1.5 billion parameters that takes tools. Only `make test-real` runs this folder: 1.1 GB, once.

Qwen2.5-Coder-1.5B-Instruct in Q4_K_M (Apache 2.0), by its short name: the hub gives it, or 22 packages. Like most
models of its size it writes calls as plain JSON in a fence, without the marks of its format.
"""

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass

import pytest

from ouvert.cli.progress import show_progress
from ouvert.store import Store, StoreError, default_home

MODEL = "qwen2.5-coder:1.5b"
RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="session")
def coder():
    """The model's file, in the user's store: fetched there by its short name if it is not there yet."""
    store = Store(default_home())
    try:
        return store.resolve(MODEL).path
    except StoreError:
        return store.pull(MODEL, progress=show_progress(sys.stderr)).path


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
