"""llama.cpp's own server, as xllamacpp carries it, is a contestant: what it says of itself, and a few items."""

import json
import urllib.request

import pytest
import xllamacpp

from ouvert.evaluation import Chat, Item, Text
from ouvert.evaluation.contestants.local import open_local

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["blue", "red"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def address(smollm2):
    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2)
    params.n_ctx, params.n_parallel, params.port, params.n_gpu_layers = 1024, 1, 0, 0
    params.cpuparams.n_threads, params.warmup = 1, False
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


@pytest.fixture(scope="module")
def contestant(address, smollm2):
    made = open_local(f"openai:{address}/{smollm2.name}")
    yield made
    made.close()


def item(ask):
    return Item(suite="trial", id="1", language="en", ask=ask, expected={})


def chat(text, **fields):
    return item(Chat(messages=({"role": "user", "content": text},), max_tokens=24, **fields))


def test_the_server_says_which_file_and_template_it_has_and_no_folder(contestant, smollm2):
    said = contestant.facts.identity["said"]
    assert said["file"] == smollm2.name
    assert said["template"].startswith("sha256:")
    assert said["build"]
    assert contestant.facts.about["context"] == 1024
    assert str(smollm2.parent) not in repr(contestant.facts)


def test_an_answer_in_a_stream_is_the_answer_that_the_server_gives_whole(contestant, address):
    answered = contestant.ask(chat("What is the capital of France?"), 0, 0)
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 24,
            "temperature": 0, "seed": 0}  # fmt: skip
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as whole:
        theirs = json.load(whole)
    assert answered.outcome.text == theirs["choices"][0]["message"]["content"]
    assert answered.outcome.reason == theirs["choices"][0]["finish_reason"]
    assert answered.cost.prompt_tokens == theirs["usage"]["prompt_tokens"]
    assert answered.cost.output_tokens == theirs["usage"]["completion_tokens"]
    assert 0 < answered.cost.first <= answered.cost.whole


def test_a_schema_is_held(contestant):
    answered = contestant.ask(chat("What colour is the sky?", schema=SCHEMA), 0, 0)
    assert json.loads(answered.outcome.text)["colour"] in ("blue", "red")


def test_a_prompt_that_does_not_fit_is_refused_in_its_words(contestant):
    assert "context size" in contestant.ask(chat("word " * 3000), 0, 0).outcome.refused


def test_texts_cannot_be_read_there(contestant):
    assert contestant.facts.asks == {"chat"}
    assert contestant.ask(item(Text(text="Hello there")), 0, 0).outcome.refused
