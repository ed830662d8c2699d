"""POST /v1/chat/completions, over a socket: every rule that real clients need, one test each."""

import json
import shutil

import pytest

from ouvert.assistant import load
from ouvert.serving.openai.chat_request import ChatCompletionRequest, asked
from ouvert.store import Store

QUESTION = [{"role": "user", "content": "Who are you?"}]
ANSWER = "Hello from a tiny model."


def events(text):
    return [block.removeprefix("data: ") for block in text.split("\n\n") if block.startswith("data: ")]


def ask(client, path="/v1/chat/completions", **fields):
    return client.post(path, json={"model": "tiny", "messages": QUESTION, **fields})


def streamed(client, **fields):
    response = ask(client, stream=True, **fields)
    assert response.status_code == 200, response.text
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_a_question_is_answered_with_and_without_v1(client, path):
    body = ask(client, path).json()
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": ANSWER, "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == 7
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 7
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert body["system_fingerprint"].startswith("fp_")


def test_a_stream_has_the_role_first_the_reason_last_and_then_done(client):
    first, *middle, last = streamed(client)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == ANSWER
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert all("usage" not in chunk for chunk in (first, *middle, last))
    assert len({chunk["id"] for chunk in (first, *middle, last)}) == 1


def test_a_stream_that_asks_says_first_how_far_the_prompt_is_read(client):
    long = [{"role": "user", "content": "Who are you? " * 60}]
    role, reading, *rest = streamed(client, messages=long, ouvert={"progress": True})
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert reading["choices"] == []
    told = reading["ouvert"]["reading"]
    assert told["index"] == 0
    assert 0 <= told["done"] == told["reused"] < told["total"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in rest if chunk["choices"]) == ANSWER


def test_who_does_not_ask_hears_nothing_of_it(client):
    assert all(chunk["choices"] for chunk in streamed(client))
    assert "reading" not in ask(client, ouvert={"progress": True}).text


def test_the_oldest_turns_are_left_out_where_that_was_asked_for_and_the_receipt_says_so(client):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "x" * 1300},
        {"role": "assistant", "content": "y" * 1300},
        *QUESTION,
    ]
    assert ask(client, messages=messages).json()["error"]["code"] == "context_length_exceeded"
    body = ask(client, messages=messages, ouvert={"truncation": "auto", "receipt": "full"}).json()
    assert body["choices"][0]["message"]["content"] == ANSWER
    assert body["ouvert"]["not_honoured"] == ["truncation: 2 of the oldest messages were left out"]
    told = [(each["role"], each["sent"] > 0, each["refused"] >= 1300) for each in body["ouvert"]["receipt"]["messages"]]
    assert told == [("system", True, False), ("user", False, True), ("assistant", False, True), ("user", True, False)]


def test_usage_comes_in_a_chunk_of_its_own_and_only_when_asked_for(client):
    *chunks, last = streamed(client, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 7
    assert "cached_tokens" in last["usage"]["prompt_tokens_details"]
    assert all(chunk["usage"] is None for chunk in chunks)


def test_one_event_is_one_write_and_headers_go_out_at_once(server):
    """Each piece that arrives holds whole events."""
    with (
        server.client() as client,
        client.stream(
            "POST", "/v1/chat/completions", json={"model": "tiny", "messages": QUESTION, "stream": True}
        ) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        pieces = list(response.iter_raw())
    assert all(piece.endswith(b"\n\n") for piece in pieces)


@pytest.mark.parametrize("content", [None, [], "", [{"type": "text", "text": ""}]])
def test_what_an_assistant_said_may_be_empty_in_any_way(client, content):
    history = [*QUESTION, {"role": "assistant", "content": content}, *QUESTION]
    assert ask(client, messages=history).status_code == 200
    del history[1]["content"]
    assert ask(client, messages=history).status_code == 200


def test_content_may_be_parts_of_text(client):
    parts = [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]
    one, other = ask(client, messages=[{"role": "user", "content": parts}]), ask(client)
    assert one.json()["usage"]["prompt_tokens"] == other.json()["usage"]["prompt_tokens"]


def test_a_picture_is_refused_by_name(client):
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    response = ask(client, messages=[{"role": "user", "content": parts}])
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages[0].content[0]"
    assert "image_url" in response.json()["error"]["message"]


def test_a_developer_is_read_like_a_system(client):
    one = ask(client, messages=[{"role": "developer", "content": "Be brief."}, *QUESTION]).json()
    other = ask(client, messages=[{"role": "system", "content": "Be brief."}, *QUESTION]).json()
    assert one["usage"]["prompt_tokens"] == other["usage"]["prompt_tokens"]


@pytest.mark.parametrize("limit", [{"max_tokens": 3}, {"max_completion_tokens": 3}])
def test_a_limit_ends_the_answer_with_length(client, limit):
    body = ask(client, **limit).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["choices"][0]["message"]["content"] == "Hello from a"
    assert body["usage"]["completion_tokens"] == 3


def test_minus_one_is_no_limit_as_n8n_means_it(client):
    assert ask(client, max_tokens=-1).json()["choices"][0]["message"]["content"] == ANSWER
    assert ask(client, max_tokens=0).status_code == 400


@pytest.mark.parametrize("stop", [" tiny", [" tiny"], ["never", " tiny"]])
def test_stop_strings_end_the_answer_and_are_not_shown(client, stop):
    choice = ask(client, stop=stop).json()["choices"][0]
    assert choice["message"]["content"] == "Hello from a"
    assert choice["finish_reason"] == "stop"


def test_several_choices_count_their_prompt_once(client):
    alone, three = ask(client).json(), ask(client, n=3, temperature=0).json()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in three["choices"]} == {ANSWER}
    assert three["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 3 * alone["usage"]["completion_tokens"]
    assert len(three["ouvert"]["receipts"]) == 3


def test_several_choices_stream_side_by_side(client):
    chunks = [chunk["choices"][0] for chunk in streamed(client, n=2)]
    for number in (0, 1):
        mine = [chunk for chunk in chunks if chunk["index"] == number]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(chunk["delta"].get("content", "") for chunk in mine) == ANSWER
        assert mine[-1]["finish_reason"] == "stop"


def test_too_many_choices_are_refused(client):
    assert ask(client, n=1000).json()["error"]["param"] == "n"


@pytest.mark.parametrize("seed", [7, -7, 2**70])
def test_a_seed_gives_the_same_answer_whatever_number_it_is(client, seed):
    one, other = (ask(client, seed=seed, temperature=1.5, max_tokens=20).json() for _ in range(2))
    assert one["choices"] == other["choices"]
    assert one["ouvert"]["receipt"]["seed"] == seed % 2**64


def test_log_probabilities_spell_the_answer(client):
    content = ask(client, logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert bytes(byte for token in content for byte in token["bytes"]).decode() == ANSWER
    assert all(token["logprob"] <= 0 for token in content)
    assert all(len(token["top_logprobs"]) == 2 for token in content)
    assert content[0]["top_logprobs"][0]["token"] == "Hello"
    assert content[0]["top_logprobs"][0]["logprob"] == content[0]["logprob"]


def test_log_probabilities_stream_with_their_text(client):
    for chunk in streamed(client, logprobs=True):
        choice = chunk["choices"][0]
        if text := choice["delta"].get("content"):
            assert bytes(byte for token in choice["logprobs"]["content"] for byte in token["bytes"]).decode() == text


def test_top_logprobs_need_logprobs(client):
    assert ask(client, top_logprobs=2).json()["error"]["param"] == "top_logprobs"


def test_a_bias_bans_a_token(client):
    """Token 256 + n is the n-th added one: "Hello" is the fourth word behind three control tokens."""
    top = ask(client, logprobs=True, top_logprobs=1).json()["choices"][0]["logprobs"]["content"][0]["token"]
    assert top == "Hello"
    hello = client.post("/tokenize", json={"model": "tiny", "prompt": "Hello"})
    if hello.status_code == 200:
        [token] = hello.json()["tokens"]
        body = ask(client, logit_bias={str(token): -100}, max_tokens=5).json()
        assert not body["choices"][0]["message"]["content"].startswith("Hello")
    assert ask(client, logit_bias={"Hello": 1}).json()["error"]["param"] == "logit_bias"


def test_json_is_enforced_on_the_text(client):
    body = ask(client, response_format={"type": "json_object"}, max_tokens=200).json()
    text = body["choices"][0]["message"]["content"]
    assert text.lstrip().startswith("{")
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Answer",
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    body = ask(client, response_format=wanted, max_tokens=200).json()
    assert isinstance(json.loads(body["choices"][0]["message"]["content"])["yes"], bool)
    assert ask(client, response_format={"type": "json_schema"}).status_code == 400


def test_a_schema_that_cannot_be_followed_is_refused(client):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}
    assert ask(client, response_format=wanted).status_code == 400
    held = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    for strict, status in ((None, 200), (False, 200), (True, 400)):
        schema = {"name": "x", "schema": {**held, "not": {"required": ["b"]}}, "strict": strict}
        answer = ask(client, response_format={"type": "json_schema", "json_schema": schema})
        assert answer.status_code == status
        if status == 200:
            notes = answer.json()["ouvert"]["not_honoured"]
            assert notes == ["response_format: #: the keyword 'not', is not held to"]
            assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"a": 1}


@pytest.mark.parametrize("field", ["functions", "function_call", "audio"])
def test_fields_that_cannot_be_honoured_are_refused_by_name(client, field):
    value = [{"name": "f"}] if field == "functions" else {"name": "f"}
    response = ask(client, **{field: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


def test_unknown_and_harmless_fields_are_ignored(client):
    harmless = {"user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "auto", "nobody_knows": [1]}
    assert ask(client, **harmless).status_code == 200


def test_an_effort_means_nothing_to_a_model_that_does_not_think(client):
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh"):
        assert ask(client, reasoning_effort=effort).status_code == 200
    assert ask(client, model="tiny:low").json()["model"] == "tiny:low"
    assert ask(client, reasoning_effort="enormous").json()["error"]["param"] == "reasoning_effort"


def test_a_model_may_be_called_latest_and_no_other_name(client):
    assert ask(client, model="tiny:latest").status_code == 200
    response = ask(client, model="gpt-4o")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert "tiny" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "~/x", "./pyproject.toml", "C:\\x", "a" * 600])
def test_a_clients_name_for_a_model_is_never_a_path(client, path):
    assert ask(client, model=path).status_code in (400, 404)


def test_what_does_not_fit_says_both_numbers(client):
    response = ask(client, messages=[{"role": "user", "content": "x" * 3000}])
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert error["n_ctx"] == 2048
    assert error["n_prompt_tokens"] > 3000
    assert f"{error['n_prompt_tokens']} tokens, and this engine's context holds 2048 " in error["message"]


def test_it_is_refused_before_a_stream_begins(client):
    response = ask(client, stream=True, messages=[{"role": "user", "content": "x" * 3000}])
    assert response.status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"model": NaN}', b"\xff", b'{"model": 1e999}', b"[" * 100_000, b"null", b'{"model":"tiny"}'],
)
def test_a_body_that_makes_no_sense_is_a_400_in_openais_words(client, body):
    response = client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_half_a_surrogate_pair_is_refused(client):
    content = b'{"model":"tiny","messages":[{"role":"user","content":"\\ud800"}]}'
    assert client.post("/v1/chat/completions", content=content).status_code == 400


def test_a_receipt_rides_along(client):
    response = ask(client)
    short = response.json()["ouvert"]["receipt"]
    assert short["weights_digest"].startswith("sha256:")
    assert short["tokens"]["output"] == 7
    answer_id = response.headers["x-ouvert-receipt"]
    assert answer_id == response.json()["id"] == response.json()["ouvert"]["receipt_id"]
    [whole] = client.get(f"/v1/receipts/{answer_id}").json()["data"]
    assert whole["tokens"]["output"] == 7
    assert client.get("/v1/receipts/nothing").status_code == 404


@pytest.mark.parametrize("how", [{"headers": {"x-ouvert-receipt": "full"}}, {"body": {"ouvert": {"receipt": "full"}}}])
def test_the_whole_receipt_comes_on_request(client, how):
    body = {"model": "tiny", "messages": QUESTION, **how.get("body", {})}
    answer = client.post("/v1/chat/completions", json=body, headers=how.get("headers")).json()
    assert answer["ouvert"]["receipt"]["messages"][0]["role"] == "user"
    last = events(client.post("/v1/chat/completions", json={**body, "stream": True}, headers=how.get("headers")).text)[
        -2
    ]
    assert json.loads(last)["ouvert"]["receipt"]["messages"][0]["role"] == "user"


def test_allowed_tools_are_the_only_ones():
    def tool(name):
        return {"type": "function", "function": {"name": name}}

    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("b")]}}
    request = ChatCompletionRequest(model="m", messages=QUESTION, tools=[tool("a"), tool("b")], tool_choice=choice)
    wanted = asked(request, 4)
    assert [tool.name for tool in wanted.conversation.tools] == ["b"]
    assert wanted.demands.calls == "required"


def test_the_fingerprint_changes_with_whatever_changes_an_answer(speaking_model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(speaking_model(), folder)
    store = Store(tmp_path / "home")

    def fingerprint(**settings):
        with load(folder, store=store, receipts=False, prefixes=False, **settings) as model:
            return model.fingerprint

    def edit(name, **changes):
        path = folder / name
        stated = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(stated | changes))

    found = [fingerprint()]
    assert fingerprint(threads=2) == found[0]
    found.append(fingerprint(cache="q8"))
    edit("config.json", rope_theta=9.0)
    found.append(fingerprint())
    edit("generation_config.json", do_sample=True, temperature=0.5)
    found.append(fingerprint())
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    edit("tokenizer_config.json", chat_template=template + " ")
    found.append(fingerprint())
    monkeypatch.setattr("ouvert.engine.loading.build_digest", lambda: "sha256:another build")
    found.append(fingerprint())
    assert len(set(found)) == len(found)
