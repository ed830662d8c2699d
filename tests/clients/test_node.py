"""Clients in JavaScript, as they use it: tests/clients/node, whose packages `make test-clients` installs."""

import json
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "node"
QUESTION = "What is 2+2?"


def said_by(script, *words):
    command = ["node", str(SCRIPTS / script), *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_openai_sdk(served, expected):
    found = said_by("openai_sdk.mjs", served.v1, served.speaks, QUESTION)
    assert found == {"whole": expected, "streamed": expected, "response": expected}


@pytest.mark.parametrize("api", ["compatible", "chat", "responses"])
def test_vercel_ai_sdk(served, expected, ai_sdk, api):
    found = ai_sdk[api]
    assert (found["whole"], found["streamed"], found["finish"]) == (expected, expected, "stop")
    assert 0 < found["usage"]["outputTokens"] <= 24
    assert set(found["object"]) == {"yes"}
    assert found["decided"] in ([True], [False])


@pytest.fixture(scope="module")
def ai_sdk(served):
    return said_by("ai_sdk.mjs", served.v1, served.speaks, served.calls, QUESTION)
