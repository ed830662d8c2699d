"""The official conformance suite of MCP (0.1.16, up to the version of 2025-11-25) against our server and our client.

Only `make test-mcp` runs this folder. Each scenario of the suite is in one of the tables: what is not run has a reason.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUITE = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
NODE = shutil.which(os.path.abspath(os.environ["NODE"])) if "NODE" in os.environ else "node"

# Of the server as it is.
SERVER = ("server-initialize", "ping", "tools-list", "server-sse-multiple-streams", "dns-rebinding-protection")
# That want tools which nobody has but a test: they are served by our doors.
FIXTURES = (
    *("tools-call-simple-text", "tools-call-image", "tools-call-audio", "tools-call-embedded-resource"),
    *("tools-call-mixed-content", "tools-call-error", "tools-call-with-progress", "tools-call-elicitation"),
    *("elicitation-sep1034-defaults", "elicitation-sep1330-enums", "json-schema-2020-12"),
)
CLIENT = ("initialize", "tools_call")
NOT_OFFERED = {
    "logging-set-level": "logging is deprecated since 2026-07-28; our log is the owner's",
    "tools-call-with-logging": "as above",
    "tools-call-sampling": "deprecated since 2026-07-28: our models need no other's",
    "completion-complete": "nothing to complete without prompts",
    "resources-list": "documents are searched by tools",
    "resources-read-text": "as above",
    "resources-read-binary": "as above",
    "resources-templates-read": "as above",
    "resources-subscribe": "as above",
    "resources-unsubscribe": "as above",
    "prompts-list": "no prompts",
    "prompts-get-simple": "as above",
    "prompts-get-with-args": "as above",
    "prompts-get-embedded-resource": "as above",
    "prompts-get-with-image": "as above",
    "server-sse-polling": "no stream is closed in the middle of a call",
    "elicitation-sep1034-client-defaults": "an agent's servers cannot ask its owner",
    "sse-retry": "a broken stream ends the call, and the agent is told",
}


def suite(*words, **settings):
    return subprocess.run([NODE, str(SUITE), *words], capture_output=True, text=True, timeout=300, cwd=HERE, **settings)


def test_every_scenario_of_the_suite_is_run_or_has_a_reason():
    listed = set(re.findall(r"^  - (\S+)", suite("list").stdout, re.MULTILINE))
    tables = {*SERVER, *FIXTURES, *CLIENT, *NOT_OFFERED}
    assert {each for each in listed if not each.startswith("auth/")} == tables  # auth/: servers of others with OAuth


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def begun(command, port, folder):
    process = subprocess.Popen(command, env={**os.environ, "OUVERT_HOME": str(folder)})
    until = time.monotonic() + 180
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    port, folder = free_port(), tmp_path_factory.mktemp("home")
    process = begun([sys.executable, "-m", "ouvert", "serve", "--port", str(port)], port, folder)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    port, folder = free_port(), tmp_path_factory.mktemp("everything")
    process = begun([sys.executable, str(HERE / "everything.py"), str(port), str(folder)], port, folder)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    process.wait(30)


@pytest.mark.parametrize("scenario", SERVER)
def test_our_server(ours, scenario, tmp_path):
    ran = suite("server", "--url", ours, "--scenario", scenario, "-o", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("scenario", FIXTURES)
def test_the_protocol_comes_through_our_doors(everything, scenario, tmp_path):
    ran = suite("server", "--url", everything, "--scenario", scenario, "-o", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("scenario", CLIENT)
def test_our_client(scenario, tmp_path):
    command = f"{sys.executable} {HERE / 'our_client.py'}"
    ran = suite("client", "--command", command, "--scenario", scenario, "--timeout", "120000", "-o", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "OVERALL: PASSED" in ran.stdout


def test_the_suite_finds_a_fault(ours, tmp_path):
    ran = suite("server", "--url", ours, "--scenario", "prompts-list", "-o", str(tmp_path))
    assert ran.returncode != 0
