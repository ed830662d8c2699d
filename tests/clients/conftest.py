"""A real `ouvert serve`, for the programs that people have. Only `make test-clients` runs this folder.

With `--record FOLDER` what each program sends is written there, as tests/serving/test_replay.py reads it.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ouvert.agents import Agents, agent_of

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
QUESTION = "What is 2+2?"
# Its model is noise, so it is held to calls: it looks at its files once, and ends.
CLERK = """---
name: clerk
description: Looks at its files.
model: gpt-oss:tiny
held: true
tools: [files]
budget: {steps: 2, tokens: 4000}
---
You look at your files.
"""
REPLAYED = "gpt-oss:20b"  # how test_replay.py calls its model
KEPT_HEADERS = (
    "accept",
    "content-type",
    "user-agent",
    "anthropic-version",
    "anthropic-beta",
    "authorization",
    "x-api-key",
)


def pytest_addoption(parser):
    parser.addoption("--record", type=Path, help="folder for what the programs send")


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
def served(smollm2, tiny_gpt_oss, tmp_path_factory, recorder):
    folder = tmp_path_factory.mktemp("models")
    calls, speaks = folder / "gpt-oss:tiny", folder / f"smollm2{smollm2.suffix}"
    calls.symlink_to(tiny_gpt_oss)
    speaks.symlink_to(smollm2)
    home = tmp_path_factory.mktemp("home")
    Agents(home).keep(agent_of(CLERK))
    command = [sys.executable, "-c", RUN, "serve", str(speaks), str(calls), "--port", "0", "--only"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OUVERT_HOME": str(home)},
    )
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
    speaks = next(name for name in names if "smollm2" in name)
    yield Served(base if recorder is None else recorder.before(base, (speaks, "gpt-oss:tiny")), speaks, "gpt-oss:tiny")
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture
def expected(served):
    """The greedy answer to QUESTION, over the plainest of all clients."""
    said = [{"role": "user", "content": QUESTION}]
    body = json.dumps({"model": served.speaks, "messages": said, "temperature": 0, "max_tokens": 24}).encode()
    request = urllib.request.Request(served.v1 + "/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        text = json.load(answer)["choices"][0]["message"]["content"]
    assert len(text) > 5
    return text


# --- recording ------------------------------------------------------------------------------------------------------


class Recorder:
    """Stands between the programs and the server, and keeps what is sent."""

    def __init__(self):
        self.sent = []

    def before(self, base, models):
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                recorder.keep(self, body, models)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                request = urllib.request.Request(base + self.path, body or None, headers, method=self.command)
                try:
                    answer = urllib.request.urlopen(request)
                except urllib.error.HTTPError as refused:
                    answer = refused
                with answer:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                            self.send_header(name, value)
                    self.send_header("connection", "close")
                    self.end_headers()
                    while piece := answer.read1(65536):
                        self.wfile.write(piece)
                        self.wfile.flush()

            do_GET = do_POST = do_HEAD = do_DELETE = handle_one

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def keep(self, handler, body, models):
        if handler.headers.get("user-agent", "").startswith("Python-urllib"):  # the fixture `expected`
            return
        text = body.decode()
        for model in models:
            text = text.replace(json.dumps(model), json.dumps(REPLAYED))
        self.sent.append(
            {
                "method": handler.command,
                "path": handler.path,
                "headers": {name: handler.headers[name] for name in KEPT_HEADERS if name in handler.headers},
                "body": json.loads(text) if text else None,
            }
        )


@pytest.fixture(scope="session")
def recorder(request):
    return None if request.config.getoption("--record") is None else Recorder()


@pytest.fixture(autouse=True)
def recorded(request, recorder):
    """What this test's program sent, each request once."""
    yield
    if recorder is None:
        return
    lines = dict.fromkeys(json.dumps(each, ensure_ascii=False) for each in recorder.sent)
    recorder.sent.clear()
    folder = request.config.getoption("--record")
    folder.mkdir(parents=True, exist_ok=True)
    name = request.node.name.removeprefix("test_").translate(str.maketrans("[", "-", "]"))
    if lines:
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
