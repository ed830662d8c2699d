"""Tools and thoughts through every OpenAI endpoint, with a gpt-oss of random weights held to Harmony."""

import json

import pytest
from openai import OpenAI

from ouvert.serving.keys import Keys

NAME = "gpt-oss:tiny"
QUESTION = [{"role": "user", "content": "What is 6*7?"}]
PARAMETERS = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}
FUNCTIONS = [
    {"name": name, "description": "d", "parameters": PARAMETERS, "strict": True} for name in ("sum", "product")
]
TOOLS = [{"type": "function", "function": function} for function in FUNCTIONS]
FLAT = [{"type": "function", **function} for function in FUNCTIONS]


@pytest.fixture(scope="module")
def harmony(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / NAME
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


@pytest.fixture
def client(harmony):
    with harmony.client() as client:
        yield client


def ask(client, **fields):
    body = {
        "model": NAME,
        "messages": QUESTION,
        "think_budget": 8,
        "max_tokens": 400,
        "temperature": 1,
        "seed": 1,
        **fields,
    }
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response


def thoughtful(client, **fields):
    """(settings, answer): the first seed with which this model of noise thinks and then does what was asked."""
    for seed in range(200):
        settings = {"seed": seed, "temperature": 1, "max_tokens": 60}
        body = ask(client, **settings, **fields).json()
        [choice] = body["choices"]
        if choice["message"].get("reasoning") and choice["finish_reason"] != "length":
            return settings, body
    raise AssertionError("no seed makes it think")


def chunks_of(response):
    *chunks, done = [block.removeprefix("data: ") for block in response.text.strip().split("\n\n")]
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "product"}}])
def test_a_call_that_is_required_comes_and_follows_its_schema(client, choice):
    _, body = thoughtful(client, tools=TOOLS, tool_choice=choice)
    [answer] = body["choices"]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    [call] = answer["message"]["tool_calls"]
    assert set(call) == {"id", "type", "function"}
    assert call["function"]["name"] in (("sum", "product") if choice == "required" else ("product",))
    assert isinstance(json.loads(call["function"]["arguments"])["yes"], bool)


def test_a_call_streams_with_its_name_first_and_only_arguments_later(client):
    settings, _ = thoughtful(client, tools=TOOLS, tool_choice="required")
    chunks = chunks_of(ask(client, tools=TOOLS, tool_choice="required", stream=True, **settings))
    pieces = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    first, *later = pieces
    assert set(first) == {"index", "id", "type", "function"}
    assert first["function"]["arguments"] == ""
    assert later
    assert all(set(piece) == {"index", "function"} and set(piece["function"]) == {"arguments"} for piece in later)
    assert isinstance(json.loads("".join(piece["function"]["arguments"] for piece in later))["yes"], bool)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["choices"][0]["delta"] == {}


def test_no_call_comes_where_none_may(client):
    [answer] = ask(client, tools=TOOLS, tool_choice="none").json()["choices"]
    assert "tool_calls" not in answer["message"]
    assert answer["finish_reason"] in ("stop", "length")


def test_an_unknown_choice_and_a_choice_without_tools_are_refused(client):
    for wrong in ({"tool_choice": "sum", "tools": TOOLS}, {"tool_choice": "required"}):
        body = {"model": NAME, "messages": QUESTION, **wrong}
        assert client.post("/v1/chat/completions", json=body).status_code == 400


def test_thoughts_come_in_both_fields_and_are_counted(client):
    settings, body = thoughtful(client)
    message = body["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"]
    details = body["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < body["usage"]["completion_tokens"]
    thoughts = [chunk["choices"][0]["delta"] for chunk in chunks_of(ask(client, stream=True, **settings))]
    thoughts = [delta for delta in thoughts if "reasoning" in delta]
    assert all(delta["reasoning"] == delta["reasoning_content"] for delta in thoughts)
    assert "".join(delta["reasoning"] for delta in thoughts) == message["reasoning"]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thoughts_come_back_in_either_field(client, field):
    call = {"id": "c1", "type": "function", "function": {"name": "sum", "arguments": "{}"}}
    history = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    without = ask(client, messages=history, tools=TOOLS).json()["usage"]["prompt_tokens"]
    history[1][field] = "A thought"
    assert ask(client, messages=history, tools=TOOLS).json()["usage"]["prompt_tokens"] > without


def test_thoughts_that_a_client_dropped_are_put_back(client):
    """n8n and LangChain send a call and its result back without what was thought before."""
    _, first = thoughtful(client, tools=TOOLS, tool_choice="required")
    [call] = first["choices"][0]["message"]["tool_calls"]
    history = [*QUESTION, {"role": "assistant", "content": [], "tool_calls": [call]}]
    history.append({"role": "tool", "tool_call_id": call["id"], "content": "42"})
    answer = ask(client, messages=history, tools=TOOLS, ouvert={"receipt": "full"}).json()
    assert answer["ouvert"]["receipt"]["messages"][1]["reasoning_restored"] is True


@pytest.mark.parametrize(
    ("word", "effort"),
    [("none", "low"), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high")],
)
def test_an_effort_is_moved_to_the_nearest_the_model_has(client, word, effort):
    for fields in ({"reasoning_effort": word}, {"reasoning": {"effort": word}}):
        answer = ask(client, max_tokens=1, ouvert={"receipt": "full"}, **fields).json()
        assert answer["ouvert"]["receipt"]["asked"]["effort"] == effort


def test_an_effort_may_stand_behind_the_name(client):
    answer = ask(client, model=f"{NAME}:low", max_tokens=1, ouvert={"receipt": "full"}).json()
    assert answer["model"] == f"{NAME}:low"
    assert answer["ouvert"]["receipt"]["asked"]["effort"] == "low"
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert listed == [NAME, *(f"{NAME}:{effort}" for effort in ("low", "medium", "high"))]


def test_a_form_is_for_the_final_text_only(client):
    """Thoughts are free; what follows them is JSON."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": PARAMETERS, "strict": True}}
    _, body = thoughtful(client, response_format=wanted)
    assert isinstance(json.loads(body["choices"][0]["message"]["content"])["yes"], bool)


def test_calls_and_thoughts_as_items_and_events(harmony):
    with OpenAI(base_url=harmony.base + "/v1", api_key="x", _strict_response_validation=True) as sdk:
        fields = {"model": NAME, "input": "What is 6*7?", "tools": FLAT, "tool_choice": "required"}
        response = sdk.responses.create(**fields, extra_body={"seed": 1}, max_output_tokens=400)
        call = response.output[-1]
        assert call.type == "function_call"
        assert isinstance(json.loads(call.arguments)["yes"], bool)
        with sdk.responses.create(**fields, extra_body={"seed": 1}, max_output_tokens=400, stream=True) as stream:
            events = list(stream)
        kinds = [event.type for event in events]
        added = kinds.index("response.function_call_arguments.delta") - 1
        assert kinds[added] == "response.output_item.added"
        assert kinds[-3:] == [
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
        if response.output[0].type == "reasoning":
            assert "response.reasoning_text.delta" in kinds
            assert "response.reasoning_text.done" in kinds
        again = sdk.responses.create(
            model=NAME,
            tools=FLAT,
            previous_response_id=response.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "42"}],
            max_output_tokens=20,
        )
        assert again.status in ("completed", "incomplete")


def test_tools_are_refused_where_the_model_has_no_place_for_them(server):
    with server.client() as client:
        response = client.post("/v1/chat/completions", json={"model": "tiny", "messages": QUESTION, "tools": TOOLS})
        assert response.status_code == 400
        assert "tools" in response.json()["error"]["message"]


# --- ids of calls, and thoughts that are put back ---------------------------------------------------------------------


def restored(server, talk, **headers):
    """Which messages of a conversation got thoughts back."""
    body = {"model": NAME, "messages": talk, "tools": TOOLS, "max_tokens": 1, "ouvert": {"receipt": "full"}}
    with server.client(headers=headers) as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    messages = answer.json()["ouvert"]["receipt"]["messages"]
    return [n for n, message in enumerate(messages) if message.get("reasoning_restored")]


def without_thoughts(message):
    return {"role": "assistant", "content": None, "tool_calls": message["tool_calls"]}


def loop(message, **changed):
    [call] = message["tool_calls"]
    call = {**call, **changed}
    message = {"tool_calls": [call]}
    return [*QUESTION, without_thoughts(message), {"role": "tool", "tool_call_id": call["id"], "content": "42"}]


def test_every_choice_and_every_repeat_has_ids_of_its_own_and_its_own_thoughts_back(harmony, client):
    settings, body = thoughtful(client, tools=TOOLS, tool_choice="required")
    first = body["choices"][0]["message"]
    again = ask(client, tools=TOOLS, tool_choice="required", n=3, **settings).json()["choices"]
    messages = [first, *(choice["message"] for choice in again if choice["message"].get("tool_calls"))]
    ids = [call["id"] for message in messages for call in message["tool_calls"]]
    assert len(set(ids)) == len(ids) > 2
    assert first["tool_calls"][0]["function"] == messages[1]["tool_calls"][0]["function"], "the same answer again"
    assert restored(harmony, loop(first)) == [1]
    assert restored(harmony, loop(first, id="call_of_another_server")) == []
    other = [{"role": "user", "content": "Something else"}, *loop(first)[1:]]
    assert restored(harmony, other) == [], "the same call in another conversation"


def test_thoughts_of_one_key_are_not_put_into_anothers_prompt(start_server, tiny_gpt_oss, tmp_path):
    (tmp_path / NAME).symlink_to(tiny_gpt_oss)
    server = start_server(models=(str(tmp_path / NAME),), state=tmp_path / "state")
    keys = Keys(tmp_path / "state")
    secrets = [keys.create(name)[1] for name in ("one", "other")]
    with server.client(headers={"x-api-key": secrets[0]}) as client:
        _, body = thoughtful(client, tools=TOOLS, tool_choice="required")
    talk = loop(body["choices"][0]["message"])
    assert [restored(server, talk, **{"x-api-key": secret}) for secret in secrets] == [[1], []]
