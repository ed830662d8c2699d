"""Results of tools through every dialect: matched by their ids, whatever their order."""

import json

import pytest

PARAMETERS = {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}
SKUS = {"x1": "A", "x2": "B"}
ASKED = {"role": "user", "content": "Stock of A and B?"}
FUNCTION = {"name": "stock", "parameters": PARAMETERS}
FULL = {"ouvert": {"receipt": "full"}}


def chat(order):
    calls = [
        {"id": i, "type": "function", "function": {"name": "stock", "arguments": json.dumps({"sku": s})}}
        for i, s in SKUS.items()
    ]
    results = [{"role": "tool", "tool_call_id": i, "content": f"of {i}"} for i in order]
    messages = [ASKED, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    return "/v1/chat/completions", {
        "messages": messages,
        "max_tokens": 1,
        "tools": [{"type": "function", "function": FUNCTION}],
    }


def responses(order):
    calls = [
        {"type": "function_call", "call_id": i, "name": "stock", "arguments": json.dumps({"sku": s})}
        for i, s in SKUS.items()
    ]
    results = [{"type": "function_call_output", "call_id": i, "output": f"of {i}"} for i in order]
    return "/v1/responses", {
        "input": [ASKED, *calls, *results],
        "max_output_tokens": 1,
        "tools": [{"type": "function", **FUNCTION}],
    }


def messages(order):
    calls = [{"type": "tool_use", "id": i, "name": "stock", "input": {"sku": s}} for i, s in SKUS.items()]
    results = [{"type": "tool_result", "tool_use_id": i, "content": f"of {i}"} for i in order]
    said = [ASKED, {"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    return "/v1/messages", {"messages": said, "max_tokens": 1, "tools": [{"name": "stock", "input_schema": PARAMETERS}]}


def ollama(order):
    calls = [{"id": i, "function": {"name": "stock", "arguments": {"sku": s}}} for i, s in SKUS.items()]
    results = [{"role": "tool", "tool_call_id": i, "content": f"of {i}"} for i in order]
    said = [ASKED, {"role": "assistant", "content": "", "tool_calls": calls}, *results]
    tools = [{"type": "function", "function": FUNCTION}]
    return "/api/chat", {"messages": said, "stream": False, "options": {"num_predict": 1}, "tools": tools}


DIALECTS = (chat, responses, messages, ollama)


@pytest.fixture(scope="module")
def client(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "gpt-oss:tiny"
    model.symlink_to(tiny_gpt_oss)
    with start_server(models=(str(model),)).client() as client:
        yield client


def answered(client, dialect, order):
    path, body = dialect(order)
    return client.post(path, json={"model": "gpt-oss:tiny", **FULL, **body})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_prompt_is_the_same_whatever_the_order_of_the_results(client, dialect):
    straight, swapped = (answered(client, dialect, order) for order in (("x1", "x2"), ("x2", "x1")))
    digests = {each.json()["ouvert"]["receipt"]["tokens"]["prompt_digest"] for each in (straight, swapped)}
    assert (straight.status_code, len(digests)) == (200, 1)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("order", "named"), [(("x1", "x3"), "'x3'"), (("x1", "x1"), "second result"), (("x2",), "'x1'")]
)
def test_an_id_that_is_unknown_missing_or_there_twice_is_named_with_400(client, dialect, order, named):
    refused = answered(client, dialect, order)
    assert refused.status_code == 400
    assert named in refused.text
