"""Ollama's interface, through its own client and as bytes on the wire."""

import asyncio
import json
import shutil
import time

import ollama
import pytest

from ouvert.serving.endpoints import Wire
from ouvert.serving.errors import Refusal
from ouvert.serving.ollama.chat import OllamaMessage, as_object, messages_of
from ouvert.serving.ollama.keep_alive import seconds_of
from ouvert.serving.ollama.models import parameter_size
from ouvert.store import Store

HELLO = [{"role": "user", "content": "Hi"}]
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "computes",
        "parameters": {"type": "object", "properties": {"input": {"type": "integer"}}, "required": ["input"]},
    },
}


@pytest.fixture
def client_of():
    """client_of(server) -> Ollama's client; closed at the end."""
    made = []

    def make(server):
        made.append(ollama.Client(host=server.base))
        return made[-1]

    yield make
    for each in made:
        each._client.close()


@pytest.fixture
def api(client_of, server):
    return client_of(server)


@pytest.fixture(scope="module")
def harmony(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "gpt-oss:20b"
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


def lines_of(client, path, body):
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_the_client_reads_a_whole_answer(api):
    answer = api.chat("tiny", HELLO)
    assert answer.message.content == "Hello from a tiny model."
    assert answer.message.role == "assistant"
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert answer.prompt_eval_count > 0
    assert answer.eval_count == 7
    assert answer.total_duration >= answer.eval_duration > 0


def test_the_client_reads_a_stream(api):
    pieces = list(api.chat("tiny:latest", HELLO, stream=True))
    assert "".join(piece.message.content for piece in pieces) == "Hello from a tiny model."
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(pieces) > 3
    assert pieces[-1].eval_count == 7


def test_the_asynchronous_client_reads_a_stream(server):
    async def read():
        client = ollama.AsyncClient(host=server.base)
        pieces = [piece.message.content async for piece in await client.chat("tiny", HELLO, stream=True)]
        await client._client.aclose()
        return pieces

    assert "".join(asyncio.run(read())) == "Hello from a tiny model."


def test_streams_where_nothing_is_said_of_it(client):
    lines = lines_of(client, "/api/chat", {"model": "tiny", "messages": HELLO})
    assert lines[0]["message"] == {"role": "assistant", "content": "Hello"}
    assert {"model", "created_at", "done"} <= lines[0].keys()
    assert lines[-1]["ouvert"]["receipt"]["tokens"]["output"] == 7


def test_one_line_where_no_stream_is_wanted(client):
    response = client.post("/api/chat", json={"model": "tiny", "messages": HELLO, "stream": False, "tools": []})
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["message"]["content"] == "Hello from a tiny model."
    assert response.headers["x-ouvert-receipt"] == answer["ouvert"]["receipt_id"]


def test_generating_is_answering_a_prompt(api):
    answer = api.generate("tiny", "Hi", system="Be brief.")
    assert answer.response == "Hello from a tiny model."
    pieces = list(api.generate("tiny", "Hi", stream=True))
    assert "".join(piece.response for piece in pieces) == "Hello from a tiny model."
    assert pieces[-1].done


def test_a_raw_prompt_is_continued_without_a_template(api, client):
    answer = api.generate("tiny", "Hello", raw=True, options={"num_predict": 3})
    assert answer.response == " from a tiny"
    assert (answer.done_reason, answer.eval_count, answer.prompt_eval_count) == ("length", 3, 1)
    whole = client.post("/api/generate", json={"model": "tiny", "prompt": "Hello", "raw": True, "stream": False})
    assert whole.json()["ouvert"]["receipt"]["ended"]["reason"] == "stop"
    assert whole.headers["x-ouvert-receipt"] == whole.json()["ouvert"]["receipt_id"]
    refused = client.post("/api/generate", json={"model": "tiny", "prompt": "Hello", "raw": True, "format": "json"})
    assert refused.status_code == 400
    assert "format" in refused.json()["error"]


def test_options_are_kept(api, client):
    answer = api.chat("tiny", HELLO, options={"num_predict": 2, "temperature": 0, "seed": 7, "num_gpu": 99})
    assert (answer.message.content, answer.done_reason, answer.eval_count) == ("Hello from", "length", 2)
    assert api.chat("tiny", HELLO, options={"stop": [" tiny"]}).message.content == "Hello from a"
    body = {"model": "tiny", "messages": HELLO, "options": {"num_ctx": 10**6}, "stream": False}
    assert "num_ctx" in client.post("/api/chat", json=body).json()["ouvert"]["not_honoured"][0]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"options": {"mirostat": 2}}, "mirostat"),
        ({"options": {"typical_p": 0.5}}, "typical_p"),
        ({"options": {"temperature": -1}}, "temperature"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"think": "deeply"}, "think"),
        ({"think": True}, "does not support thinking"),
        ({"format": "yaml"}, "format"),
        ({"messages": [{"role": "user", "content": "Hi", "images": ["aGk="]}]}, "images"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "role"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(client, body, named):
    response = client.post("/api/chat", json={"model": "tiny", "messages": HELLO, **body})
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert named in response.json()["error"]


def test_a_model_that_is_not_here(api):
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        api.chat("absent", HELLO)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="not found"):
        api.show("absent")


def test_a_model_is_shown_without_being_loaded(start_server, speaking_model, tmp_path_factory):
    home = tmp_path_factory.mktemp("store")
    copy = home / "copy"
    shutil.copytree(speaking_model(), copy)
    Store(home).pull(str(speaking_model()), name="whole")
    (copy / "config.json").write_text((copy / "config.json").read_text().replace('"llama"', '"camel"'))
    Store(home).pull(str(copy), name="broken")
    server = start_server(home=home)
    with server.client() as client:
        shown = client.post("/api/show", json={"model": "whole"}).json()
        assert (shown["capabilities"], shown["details"]["family"]) == (["completion"], "llama")
        refused = client.post("/api/show", json={"model": "broken"})
    assert refused.status_code == 500
    assert "camel" in refused.json()["error"]
    assert server.service.loaded_models.loads == 0


def test_lists_and_shows_models(api, client):
    (listed,) = api.list().models
    assert listed.model == "tiny:latest"
    assert listed.size > 0
    assert listed.details.format == "safetensors"
    shown = api.show("tiny:latest")
    assert shown.capabilities[0] == "completion"
    family = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{family}.context_length"] > 0
    assert client.post("/api/show", json={"name": "tiny"}).json()["details"]["family"] == family
    (running,) = api.ps().models
    assert running.model == "tiny:latest"
    assert running.expires_at is not None
    version = client.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


def test_is_running(client):
    assert client.get("/").text == "Ollama is running"
    assert client.head("/").status_code == 200


def test_a_model_is_loaded_and_let_go(client_of, start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    api = client_of(start_server(models=(str(model),)))
    assert api.generate("tiny", "", keep_alive="5m").done_reason == "load"
    (running,) = api.ps().models
    assert 200 < (running.expires_at.timestamp() - time.time()) <= 301
    assert api.chat("tiny", [], keep_alive=0).done_reason == "unload"
    assert api.ps().models == []
    assert api.chat("tiny", HELLO).message.content == "Hello from a tiny model."


def test_a_schema_holds(client_of, harmony):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    api = client_of(harmony)
    answer = api.chat("gpt-oss:20b", HELLO, format=schema, think="low", options={"seed": 3})
    assert answer.done_reason == "stop"
    assert json.loads(answer.message.content) in ({"n": 1}, {"n": 2})


def test_thoughts_are_apart(client_of, harmony):
    api = client_of(harmony)
    pieces = list(api.chat("gpt-oss:20b", HELLO, think="high", options={"seed": 1}, stream=True))
    assert "thinking" in api.show("gpt-oss:20b").capabilities
    assert "tools" in api.show("gpt-oss:20b").capabilities
    assert any(piece.message.thinking or piece.message.content for piece in pieces)
    whole = api.chat("gpt-oss:20b", HELLO, think="high", options={"seed": 1})
    assert (whole.message.thinking or "") == "".join(piece.message.thinking or "" for piece in pieces)
    assert (whole.message.content or "") == "".join(piece.message.content or "" for piece in pieces)


def test_calls_and_results_find_each_other_without_ids():
    function = {"name": "calculator", "arguments": {"input": 6}}
    other = {"name": "clock", "arguments": {}}
    sent = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": [{"function": function}, {"function": other}]},
        {"role": "tool", "content": "noon", "tool_name": "clock"},
        {"role": "tool", "content": "42"},
    ]
    _, asked, noon, result = messages_of([OllamaMessage.model_validate(message) for message in sent])
    assert [call.arguments for call in asked.tool_calls] == ['{"input":6}', "{}"]
    assert noon.tool_call_id == asked.tool_calls[1].id
    assert result.tool_call_id == asked.tool_calls[0].id


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        (10, 10),
        (1e300, 3153600000),
        ("10", 10),
        (0, 0),
        ("0", 0),
        (-1, None),
        ("-1m", None),
    ],
)
def test_how_long_a_model_stays(given, seconds):
    assert seconds_of(given) == seconds
    assert seconds_of(1e300) == 100 * 365 * 86400  # and no date overflows


@pytest.mark.parametrize("given", ["", "5 minutes", "m", "1x"])
def test_durations_that_are_none(given):
    with pytest.raises(Refusal, match="keep_alive"):
        seconds_of(given)


def test_sizes_are_written_as_ollama_does():
    assert [parameter_size(n) for n in (7_240_000_000, 134_515_008, 999)] == ["7.2B", "134.52M", "999"]


@pytest.mark.parametrize("path", ["embed", "embeddings"])
def test_a_model_that_writes_makes_no_embeddings(client, path):
    response = client.post(f"/api/{path}", json={"model": "tiny", "input": "Hi", "prompt": "Hi"})
    assert response.status_code == 400
    assert "not trained to make embeddings" in response.json()["error"]


def test_models_are_the_owners_to_change(client):
    """The owner does it in tests/serving/test_fetches.py."""
    another = {"x-forwarded-for": "192.0.2.7"}
    pulled = client.post("/api/pull", json={"model": "smollm2"}, headers=another)
    assert pulled.status_code == 403
    assert "ouvert pull smollm2" in pulled.json()["error"]
    assert client.request("DELETE", "/api/delete", json={"model": "tiny"}, headers=another).status_code == 403
    assert client.post("/api/copy", json={"source": "tiny", "destination": "copy"}).status_code == 403


def test_calls_that_are_no_object_are_handed_on():
    assert as_object('{"a": 1}') == {"a": 1}
    assert as_object("") == {}
    for written in ('{"a": ', "[1]", '"text"', '{"a": NaN}'):
        assert as_object(written) == {"arguments": written}


def test_addresses_that_are_not_there_are_said_in_its_words(client):
    response = client.post("/api/blobs/x", json={})
    assert response.status_code == 404
    assert set(response.json()) == {"error"}
    assert isinstance(response.json()["error"], str)


def test_an_abandoned_stream_frees_its_place(server, client):
    with client.stream("POST", "/api/chat", json={"model": "tiny", "messages": HELLO}) as response:
        next(response.iter_lines())
    server.idle()


def test_requests_are_described(client):
    assert issubclass(OllamaMessage, Wire)
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/chat", "/api/generate", "/api/tags", "/api/ps", "/api/show", "/api/version"} <= paths.keys()
