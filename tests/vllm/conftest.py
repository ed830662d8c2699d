"""A real vLLM, on this machine's CPU, in an environment of its own. Only `make test-vllm` runs this folder.

It is started with the words of docs/guides/beyond-one-machine.md. One at a time: each takes about a gigabyte and a
minute to start.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
KEY = "sesame"
GUIDE = ROOT / "docs" / "guides" / "beyond-one-machine.md"
STARTED_WITHIN = 400  # seconds
# What a test adds: less memory for caches, one thread (two with two processes), no compiling that takes minutes.
SURROUNDINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
WORDS = ("--dtype", "bfloat16", "--enforce-eager")


def words_of_the_guide() -> tuple[dict[str, str], list[str]]:
    """The variables and the options with which the guide starts vLLM, but for place, key and model."""
    [block] = re.findall(r"```sh\n(VLLM_NO_USAGE_STATS.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    words = block.replace("\\\n", " ").split()
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    options, own = [], ("--model", "--host", "--port", "--api-key")
    rest = iter(words[words.index("vllm.entrypoints.openai.api_server") + 1 :])
    for word in rest:
        if word in own:
            next(rest)
        else:
            options.append(word)
    return variables, options


@dataclass(frozen=True)
class Served:
    """`folder` has the model's files."""

    url: str
    folder: Path

    def counted(self, name: str) -> float:
        """The sum of one of vLLM's counters."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        return sum(float(each) for each in re.findall(rf"^vllm:{name}(?:\{{.*?\}})? (\S+)$", text, re.M))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    subprocess.run([PYTHON, Path(__file__).with_name("make_checkpoints.py"), folder], check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def vllm_serving(folder: Path, log: Path, *more: str) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables, options = words_of_the_guide()
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", folder, "--served-model-name", folder.name, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--api-key", KEY, *options, *WORDS, *more]
    with log.open("w") as out:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables, **SURROUNDINGS},
            cwd=log.parent,  # its own package must not be shadowed by this folder
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, process, log)
            yield Served(url, folder)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, f"vLLM ended: {log.read_text()[-3000:]}"
            assert time.monotonic() < until, f"vLLM did not start: {log.read_text()[-3000:]}"
            time.sleep(1)


@pytest.fixture(scope="module")
def vllm(request, checkpoints, tmp_path_factory) -> Served:
    """The model and the options that the module's `SERVES` says."""
    name, *more = request.module.SERVES
    with vllm_serving(checkpoints / name, tmp_path_factory.mktemp("vllm") / "log", *more) as served:
        yield served
