"""A model that another program computes, from its address to the receipt: a scripted server stands for vLLM.

It computes with the same weights, so that every answer has to be the one that this program gives by itself.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ouvert
from ouvert.cli import main
from ouvert.engine import open_engine
from ouvert.serving.receipts import short

TESTS = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("token_server", TESTS / "engine" / "remote" / "token_server.py")
assert spec
assert spec.loader
token_server = importlib.util.module_from_spec(spec)
sys.modules["token_server"] = token_server  # dataclasses look there
spec.loader.exec_module(token_server)

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris"]}}}},
}


@pytest.fixture(scope="module")
def here(tiny_gpt_oss):
    """The model, computed by this program."""
    with ouvert.load(tiny_gpt_oss, receipts=False, prefixes=False) as model:
        yield model


@pytest.fixture
def there(tiny_gpt_oss, here):
    """A server that computes the same model."""
    server = token_server.TokenServer(open_engine(tiny_gpt_oss).engine, here.vocabulary)
    server.script.key = "sesame"
    yield server
    server.close()


@pytest.fixture
def remote(tiny_gpt_oss, there):
    engine = ouvert.vllm(there.url, key="sesame", parallel="tensor parallel 2")
    with ouvert.load(tiny_gpt_oss, elsewhere=engine, receipts=False) as model:
        yield model


ASKED = {
    "plain": {},
    "with log-probabilities": {"logprobs": 2},
    "a schema": {"response_schema": POINT},
    "a tool that must be called": {"tools": [WEATHER], "tool_choice": "required"},
    "a budget for thoughts": {"think_budget": 5},
    "a choice": {"response_grammar": ouvert.Grammar.one_of(["yes", "no"])},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_an_answer_is_the_one_that_this_program_gives(here, remote, asked):
    def answer(model):
        written = model.chat("What is the weather?", temperature=0, max_tokens=60, **asked)
        *_, finished = written
        return written.token_ids, finished.reason, [(call.name, call.arguments) for call in finished.tool_calls]

    assert answer(remote) == answer(here)


def test_a_text_is_continued_and_scored_as_here(here, remote):
    ids = here.tokenize("Once upon a time")
    assert list(remote.generate(ids, temperature=0, max_tokens=9)) == list(
        here.generate(ids, temperature=0, max_tokens=9)
    )
    assert remote.score(ids, 3) == here.score(ids, 3)


def test_the_receipt_says_who_computed_and_what_is_not_promised(there, remote):
    *_, finished = remote.chat("Hi", max_tokens=3)
    receipt = finished.receipt
    assert receipt["engine"] == {
        "name": "vllm",
        "version": "0.32.0",
        "identity_digest": remote.engine.facts.identity.digest,
        "parallel": "tensor parallel 2",
        "variant": "base",
        "replay": "not promised",
    }
    assert receipt["model"]["weights_named"] == "files/tiny"
    assert not {"weights_digest", "configuration_digest", "packed_digest", "weights_checked"} & receipt["model"].keys()
    assert receipt["tokens"]["reused"] == 2
    assert short(receipt)["engine"] == "vllm"


def test_a_receipt_of_another_engine_is_replayed_here_and_says_that_it_was_another(here, remote):
    *_, finished = remote.chat("Hi", temperature=0, max_tokens=5)
    replayed = here.replay(finished.receipt, messages="Hi")
    assert replayed.agrees
    assert {"engine.name", "engine.replay", "model.weights_named"} <= {change.field for change in replayed.changes}
    assert not here.verify(finished.receipt).same_model


def test_settings_of_computing_are_refused_where_another_program_computes(tiny_gpt_oss, there):
    with pytest.raises(ouvert.AssistantError, match=r"threads=2.*another program computes"):
        ouvert.load(tiny_gpt_oss, threads=2, elsewhere=ouvert.vllm(there.url, key="sesame"))


def test_another_model_is_refused_when_it_is_loaded(smollm2, there):
    with pytest.raises(ouvert.EngineError, match="cuts a text into other tokens"):
        ouvert.load(smollm2, elsewhere=ouvert.vllm(there.url, key="sesame"))


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """typed(*words, **variables) -> (status, stdout, stderr). Without a guard, which would stay in this process."""

    def run(*words, **variables):
        monkeypatch.setattr(sys, "stdin", nothing)
        for name, value in {"OUVERT_HOME": str(tmp_path / "store"), "OUVERT_GUARD": "off", **variables}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(list(map(str, words)))
        said = capsys.readouterr()
        return status, said.out, said.err

    with open(os.devnull) as nothing:
        yield run


def test_the_command_asks_the_engine_that_is_named(typed, tiny_gpt_oss, there):
    asked = ("run", tiny_gpt_oss, "Hi", "--max-tokens", "3", "--json")
    status, out, err = typed(*asked, "--engine", "vllm", "--at", there.url, OUVERT_ENGINE_KEY="sesame")
    assert status == 0, err
    assert json.loads(out)["receipt"]["engine"]["name"] == "vllm"
    variables = {"OUVERT_ENGINE": "vllm", "OUVERT_ENGINE_AT": "http://127.0.0.1:9"}
    _, out, _ = typed(*asked, "--engine", "ouvert", **variables)
    assert json.loads(out)["receipt"]["engine"]["version"] == ouvert.__version__


def test_under_a_guard_the_host_of_the_engine_is_reached_and_stands_in_the_receipt(tmp_path, tiny_gpt_oss, there):
    """The guard takes this machine's own name for another machine where its address is not loopback: so a name is
    pretended that leads to the server."""
    program = f"""
import json, socket, sys
plain = socket.getaddrinfo
def getaddrinfo(host, port, *args, **more):
    if host == "engine.invalid":
        sys.audit("socket.getaddrinfo", host, port, 0, 0, 0)
        return plain("127.0.0.1", port, *args, **more)
    return plain(host, port, *args, **more)
socket.getaddrinfo = getaddrinfo
import ouvert
guard = ouvert.guard()
engine = ouvert.vllm("{there.url.replace("127.0.0.1", "engine.invalid")}", key="sesame")
with ouvert.load({str(tiny_gpt_oss)!r}, elsewhere=engine, receipts=False, guard=guard) as model:
    *_, finished = model.chat("Hi", max_tokens=3)
print(json.dumps(finished.receipt["connections"]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    connections = json.loads(ran.stdout)
    assert connections["attempted"] == connections["allowed"] > 0
    assert {(each["host"], each["purpose"]) for each in connections["attempts"]} == {("engine.invalid", "engine")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "http://127.0.0.1:9"), "add --engine vllm"),
        (("--engine", "vllm"), "add --at URL"),
        (("--engine", "vllm", "--at", "127.0.0.1:9"), "expected http://HOST:PORT"),
        (("--engine", "vllm", "--at", "http://127.0.0.1:9"), "Is the engine running there"),
        (("--engine", "vllm", "--at", "http://192.0.2.1:9", "--threads", "2"), "192.0.2.1 is asked by http"),
        (("--engine", "other"), "one of ouvert, vllm"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_sentence(typed, tiny_gpt_oss, words, said):
    status, _, err = typed("run", tiny_gpt_oss, "Hi", *words)
    assert status != 0
    assert said in err
    assert "Traceback" not in err


def test_a_server_serves_one_model_of_another_engine(tmp_path, tiny_gpt_oss):
    address = ("--engine", "vllm", "--at", "http://127.0.0.1:9", "--port", "0")
    for models, said in ((), "serves one model, and 0 are named"), ((tiny_gpt_oss,), "Is the engine running there"):
        ran = subprocess.run(
            [sys.executable, "-c", RUN, "serve", *map(str, models), *address],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            env={**os.environ, "OUVERT_HOME": str(tmp_path / "store")},
        )
        assert ran.returncode == 1
        assert said in ran.stderr


def test_the_key_of_an_engine_is_not_shown(typed):
    for words in (("config",), ("config", "--json"), ("config", "engine_key")):
        _, out, _ = typed(*words, OUVERT_ENGINE_KEY="sesame")
        assert "sesame" not in out
        assert "(set, and not shown)" in out
