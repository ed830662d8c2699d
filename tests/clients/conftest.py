"""A real `ouvert serve`, for the programs that people have. Only `make test-clients` runs this folder."""

import json
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass

import pytest

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Served:
    """`base` is its address; `speaks` a model with real words, `calls` one of noise whose calls are held to schemas."""

    base: str
    speaks: str
    calls: str

    @property
    def v1(self):
        return self.base + "/v1"


@pytest.fixture(scope="session")
def served(smollm2, tiny_gpt_oss, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    calls, speaks = folder / "gpt-oss:tiny", folder / f"smollm2{smollm2.suffix}"
    calls.symlink_to(tiny_gpt_oss)
    speaks.symlink_to(smollm2)
    command = [sys.executable, "-c", RUN, "serve", str(speaks), str(calls), "--port", "0", "--only"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("Ready at "):
            break
    else:
        raise AssertionError("".join(said))
    base = said[-1].split()[2]
    with urllib.request.urlopen(base + "/v1/models") as answer:
        names = [each["id"] for each in json.load(answer)["data"]]
    yield Served(base, next(name for name in names if "smollm2" in name), "gpt-oss:tiny")
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM  # ended in order, then as whoever sent the signal expects
