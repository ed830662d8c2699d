"""When a model that can do either thinks, in every dialect; and that whole answers are what streams are."""

import json

import pytest

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% else %}{{ '\n' }}{% endif %}"
)
FOLLOWS = {
    "\n": "<think>",
    "<think>": "Hm",
    "Hm": "</think>",
    "</think>": "Yes",
    "Yes": "<|im_end|>",
}
HELLO = [{"role": "user", "content": "Hi"}]
ASKED = {
    "/v1/messages": {"messages": HELLO, "max_tokens": 20},
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 20},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 20},
    "/api/chat": {"messages": HELLO, "stream": False},
}


@pytest.fixture(scope="module")
def thinker(start_server, speaking_model, tmp_path_factory):
    """Serves a model that thinks unless told not to."""
    model = tmp_path_factory.mktemp("models") / "thinker"
    model.symlink_to(speaking_model(FOLLOWS, TEMPLATE))
    return start_server(models=(str(model),))


@pytest.fixture
def client(thinker):
    with thinker.client() as client:
        yield client


def said(client, path, *, model="thinker", **fields):
    """(thought, text)"""
    response = client.post(path, json={"model": model, **ASKED[path], **fields})
    assert response.status_code == 200, response.text
    match response.json():
        case {"content": blocks}:
            return tuple(
                "".join(block[kind] for block in blocks if block["type"] == kind) for kind in ("thinking", "text")
            )
        case {"choices": [{"message": message}]}:
            return message.get("reasoning", ""), message["content"]
        case {"output": items}:
            return tuple(
                "".join(item["content"][0]["text"] for item in items if item["type"] == kind)
                for kind in ("reasoning", "message")
            )
        case {"message": message}:
            return message.get("thinking", ""), message["content"]


@pytest.mark.parametrize(
    ("fields", "thought"),
    [
        ({}, ""),
        ({"output_config": {"effort": "high"}}, ""),
        ({"thinking": {"type": "disabled"}}, ""),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "Hm"),
        ({"thinking": {"type": "adaptive"}}, "Hm"),
        ({"model": "thinker:high"}, "Hm"),
        ({"model": "thinker:high", "thinking": {"type": "disabled"}}, ""),
    ],
)
def test_in_anthropics_dialect_a_model_thinks_only_if_asked_to(client, fields, thought):
    assert said(client, "/v1/messages", **fields) == (thought, "Yes")


def test_a_short_limit_is_not_spent_on_thoughts_that_nobody_asked_for(client):
    assert said(client, "/v1/messages", max_tokens=1) == ("", "Yes")


def test_what_is_counted_is_what_is_read(client):
    asked = {"model": "thinker", "messages": HELLO}
    counted = client.post("/v1/messages/count_tokens", json=asked).json()["input_tokens"]
    usage = client.post("/v1/messages", json={**asked, "max_tokens": 1}).json()["usage"]
    assert counted == usage["input_tokens"] + usage["cache_read_input_tokens"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/api/chat"])
def test_in_the_other_dialects_it_thinks_as_its_makers_have_it(client, path):
    assert said(client, path) == ("Hm", "Yes")


@pytest.mark.parametrize(
    "fields",
    [
        {"enable_thinking": False},
        {"thinking": False},
        {"thinking": {"type": "disabled"}},
        {"think": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "high"},
        {"reasoning_effort": "none"},
    ],
)
def test_every_clients_word_for_not_thinking_is_honoured_in_chat_completions(client, fields):
    assert said(client, "/v1/chat/completions", **fields) == ("", "Yes")


def events(client, path, **fields):
    response = client.post(path, json={"model": "tiny", **fields, "stream": True})
    assert response.status_code == 200, response.text
    return [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: {")]


@pytest.fixture(scope="module")
def calling(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


def test_text_beside_calls_is_the_same_whole_and_streamed(calling):
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}}
    asked = {
        "messages": HELLO,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "max_tokens": 400,
        "temperature": 1.5,
    }
    found = 0
    with calling.client() as client:
        for seed in range(60):  # noise seldom says something and then calls
            body = client.post("/v1/chat/completions", json={"model": "tiny", **asked, "seed": seed}).json()
            message = body["choices"][0]["message"]
            if not message.get("tool_calls") or not message["content"]:
                continue
            pieces = [
                choice["delta"].get("content") or ""
                for event in events(client, "/v1/chat/completions", **asked, seed=seed)
                for choice in event["choices"]
            ]
            assert "".join(pieces) == message["content"]
            found += 1
            break
    assert found
