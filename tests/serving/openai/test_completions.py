"""/v1/completions, /tokenize and their like, /v1/embeddings, /v1/models, /metrics, /openapi.json, over a socket."""

import json
import re
import statistics

import pytest

from ouvert.serving.app import ENDPOINTS

ANSWER = "Hello from a tiny model."


def complete(client, prompt="\n", path="/v1/completions", **fields):
    return client.post(path, json={"model": "tiny", "prompt": prompt, **fields})


def tokens_of(client, text):
    return client.post("/tokenize", json={"prompt": text, "add_special_tokens": False}).json()["tokens"]


@pytest.mark.parametrize("path", ["/v1/completions", "/completions"])
def test_a_text_goes_on(client, path):
    body = complete(client, path=path).json()
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"index": 0, "text": ANSWER, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["completion_tokens"] == 7


def test_a_prompt_may_be_a_list_or_tokens_or_lists_of_tokens(client):
    ids = tokens_of(client, "\n")
    for prompt, count in ((["\n"], 1), (["\n", "\n"], 2), (ids, 1), ([ids, ids], 2)):
        body = complete(client, prompt).json()
        assert [choice["text"] for choice in body["choices"]] == [ANSWER] * count
        assert [choice["index"] for choice in body["choices"]] == list(range(count))
        assert body["usage"]["prompt_tokens"] == count


def test_the_default_limit_is_openais(client):
    assert complete(client, "again").json()["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("most", [0, 1])
def test_lm_eval_asks_for_the_echo_and_its_log_probabilities(client, most):
    """As lm-eval sends it: the first token has none, every other one has its own and the likeliest."""
    body = complete(client, "\nHello from", echo=True, logprobs=1, max_tokens=most, temperature=0).json()
    [choice] = body["choices"]
    scored = choice["logprobs"]
    assert choice["text"] == "\nHello from" + " a" * most
    assert scored["tokens"] == ["\n", "Hello", " from", " a"][: 3 + most]
    assert scored["token_logprobs"][0] is None
    assert scored["top_logprobs"][0] is None
    assert all(value < 0 for value in scored["token_logprobs"][1:])
    assert scored["text_offset"] == [0, 1, 6, 11][: 3 + most]
    for token, logprob, top in list(
        zip(scored["tokens"], scored["token_logprobs"], scored["top_logprobs"], strict=True)
    )[1:]:
        assert top == {token: logprob}  # this model is sure of what follows


def test_nothing_at_all_is_refused(client):
    assert complete(client, max_tokens=0).json()["error"]["param"] == "max_tokens"


def test_stop_strings_and_log_probabilities_end_together(client):
    [choice] = complete(client, stop=" tiny", logprobs=0).json()["choices"]
    assert choice["text"] == "Hello from a"
    assert choice["finish_reason"] == "stop"
    assert "".join(choice["logprobs"]["tokens"]) == "Hello from a"


def test_it_streams(client):
    text = complete(client, stream=True, stream_options={"include_usage": True}).text
    *chunks, usage, done = [block.removeprefix("data: ") for block in text.strip().split("\n\n")]
    pieces = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert "".join(piece["text"] for piece in pieces) == ANSWER
    assert [piece["finish_reason"] for piece in pieces[-2:]] == [None, "stop"]
    assert json.loads(usage)["usage"]["completion_tokens"] == 7
    assert done == "[DONE]"


def test_a_suffix_is_for_models_that_fill_gaps(client):
    error = complete(client, "a", suffix="b").json()["error"]
    assert error["param"] == "suffix"
    assert complete(client, suffix="").status_code == 200


def test_the_best_of_several_are_those_the_model_finds_likeliest(client):
    end = {"258": -100}  # <|im_end|>, the third control token behind 256 bytes
    asked = {"prompt": ["again", "Hello"], "temperature": 2, "seed": 5, "max_tokens": 20, "logit_bias": end}
    every = complete(client, **asked, n=6, logprobs=0).json()
    best = complete(client, **asked, n=2, best_of=6).json()
    expected = []
    for start in (0, 6):
        group = every["choices"][start : start + 6]
        group.sort(key=lambda choice: statistics.fmean(choice["logprobs"]["token_logprobs"]), reverse=True)
        expected += [choice["text"] for choice in group[:2]]
        assert len({choice["text"] for choice in group}) > 2
    assert [choice["text"] for choice in best["choices"]] == expected
    assert [choice["index"] for choice in best["choices"]] == [0, 1, 2, 3]
    assert best["choices"][0]["logprobs"] is None  # they were not asked for
    assert best["usage"]["completion_tokens"] == every["usage"]["completion_tokens"]  # all that were written


def test_what_makes_no_sense_is_a_400(client):
    assert complete(client, [10**6]).json()["error"]["param"] == "prompt"
    assert complete(client, best_of=2, n=3).json()["error"]["param"] == "best_of"
    assert "cannot be streamed" in complete(client, best_of=3, stream=True).json()["error"]["message"]
    assert complete(client, best_of=1000).status_code == 400
    assert complete(client, []).status_code == 400
    assert complete(client, "x" * 3000).json()["error"]["code"] == "context_length_exceeded"
    assert complete(client, ["x"] * 1000).status_code == 400


def test_an_empty_prompt_begins_a_text(client):
    assert complete(client, "", max_tokens=2).status_code == 200


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_text_becomes_tokens_and_text_again(client):
    body = client.post("/tokenize", json={"model": "tiny", "prompt": "Hello from!", "return_token_strs": True}).json()
    assert body["count"] == len(body["tokens"]) == 3
    assert body["token_strs"] == ["Hello", " from", "!"]
    assert body["max_model_len"] == 2048
    assert client.post("/detokenize", json={"tokens": body["tokens"]}).json() == {"prompt": "Hello from!"}
    assert client.post("/detokenize", json={"tokens": [-1]}).status_code == 400
    assert client.post("/detokenize", json={"tokens": [10**9]}).status_code == 400


def test_a_conversation_is_counted_as_the_model_reads_it(client):
    messages = [{"role": "user", "content": "Who are you?"}]
    counted = client.post("/tokenize", json={"model": "tiny", "messages": messages}).json()["count"]
    answered = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages}).json()
    assert counted == answered["usage"]["prompt_tokens"]
    for wrong in ({}, {"prompt": "x", "messages": messages}, {"messages": messages, "add_generation_prompt": False}):
        assert client.post("/tokenize", json=wrong).status_code == 400


def test_the_tokenizer_says_what_lm_eval_asks(client):
    info = client.get("/tokenizer_info").json()
    assert info["eos_token"] == "<|im_end|>"
    assert info["bos_token"] == "<|endoftext|>"
    assert "im_start" in info["chat_template"]


# --- the rest -------------------------------------------------------------------------------------------------------


def test_a_model_that_writes_makes_no_embeddings(client):
    response = client.post("/v1/embeddings", json={"model": "tiny", "input": "x", "encoding_format": "base64"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "model_cannot_embed"
    assert client.post("/v1/embeddings", json={"model": "none", "input": "x"}).status_code == 404


def test_models_are_listed_for_openais_and_anthropics_clients(client):
    body = client.get("/v1/models").json()
    [model] = body["data"]
    assert model["id"] == "tiny"
    assert model["object"] == model["type"] == "model"
    assert model["display_name"] == "tiny"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", model["created_at"])
    assert body["first_id"] == body["last_id"] == "tiny"
    assert body["has_more"] is False
    assert model["ouvert"]["state"] == "loaded"
    assert client.get("/v1/models/tiny:latest").json()["id"] == "tiny:latest"
    assert client.get("/v1/models/org/name:tag").status_code == 404


def test_the_counters_count(client, server):
    def value(name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    written, first = 'ouvert_output_tokens_total{model="tiny"}', 'ouvert_first_token_seconds_count{model="tiny"}'
    before = value(written), value(first)
    complete(client)
    server.idle()
    assert (value(written), value(first)) == (before[0] + 7, before[1] + 1)
    assert value("ouvert_models_loaded") == 1
    assert value("ouvert_answers_running") == value("ouvert_answers_waiting") == 0
    assert value('ouvert_engine_sequences{model="tiny",state="running"}') == 0
    assert value('ouvert_engine_cache_bytes{kind="all",model="tiny"}') > 0
    assert value("ouvert_resident_memory_bytes") > 10_000_000


def test_health_is_said_to_everybody(client):
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/v1/health").status_code == 200


def test_every_endpoint_is_described(client):
    described = client.get("/openapi.json").json()
    for endpoint in ENDPOINTS:
        path = ("/v1" if endpoint.versioned else "") + endpoint.path.replace(":path}", "}")
        assert endpoint.method.lower() in described["paths"][path]
    assert "ChatCompletionRequest" in described["components"]["schemas"]


def test_an_address_that_is_not_there_is_said_in_openais_words(client):
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    response = client.get("/v1/chat/completions")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["error"]["code"] == "method_not_allowed"


# --- receipts -------------------------------------------------------------------------------------------------------


def test_every_text_has_its_receipt(client):
    answer = complete(client, ["\n", "again"], seed=3)
    field = answer.json()["ouvert"]
    assert answer.headers["x-ouvert-receipt"] == field["receipt_id"] == answer.json()["id"]
    assert [each["ended"]["reason"] for each in field["receipts"]] == ["stop", "length"]
    kept = client.get(f"/v1/receipts/{field['receipt_id']}").json()["data"]
    assert [receipt["model"]["format"] for receipt in kept] == ["none", "none"]
    assert [receipt["sampling"]["seed"] for receipt in kept] == [3, 3]
    assert kept[0]["tokens"]["output"] == answer.json()["usage"]["completion_tokens"] - 16


def test_a_stream_ends_with_its_receipt_in_full_where_that_is_asked_for(client):
    body = {"model": "tiny", "prompt": "\n", "stream": True, "ouvert": {"receipt": "full"}}
    with client.stream("POST", "/v1/completions", json=body) as response:
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    last = json.loads(events[-2])
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["ouvert"]["receipt"]["tokens"]["output_digest"].startswith("sha256:")
    assert not any("ouvert" in json.loads(event) for event in events[:-2])


def test_of_the_best_the_receipt_is_the_one_that_is_shown(client):
    body = complete(client, "\n", best_of=3, temperature=1, seed=1, ouvert={"receipt": "full"}).json()
    receipt = body["ouvert"]["receipt"]
    assert receipt["asked"]["best_of"] == 3
    assert receipt["tokens"]["mean_logprob"] is not None


def test_what_was_only_echoed_has_none(client):
    assert "ouvert" not in complete(client, "\nHello", echo=True, max_tokens=0).json()
