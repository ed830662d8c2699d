"""Tools with a real model: a required call comes and ends, and a loop that leaves the choice to the model works."""

import json

import openai
import pytest

import ouvert

ASKED = "Set a timer for 10 minutes."
MINUTES = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DECLARED = (
    ("set_timer", "Set a kitchen timer.", MINUTES),
    ("get_weather", "The weather in a city.", CITY),
)
FUNCTIONS = [{"name": name, "description": text, "parameters": schema} for name, text, schema in DECLARED]
CHAT = [{"type": "function", "function": function} for function in FUNCTIONS]
RESPONSES = [{"type": "function", **function} for function in FUNCTIONS]
MESSAGES = [{"name": name, "description": text, "input_schema": schema} for name, text, schema in DECLARED]
ONE = [("set_timer", {"minutes": 10})]


def chat(served, choice):
    body = served.post(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": ASKED}],
        max_tokens=200,
        tools=CHAT,
        tool_choice=choice,
    )
    [answer] = body["choices"]
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in answer["message"]["tool_calls"]
    ]
    return calls, answer["message"]["content"], answer["finish_reason"], body["ouvert"]


def streamed_chat(served, choice):
    chunks = served.post(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": ASKED}],
        max_tokens=200,
        tools=CHAT,
        tool_choice=choice,
        stream=True,
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    pieces = [call for delta in deltas for call in delta.get("tool_calls", ())]
    names = [call["function"]["name"] for call in pieces if "name" in call["function"]]
    arguments = "".join(call["function"]["arguments"] for call in pieces)
    text = "".join(delta.get("content") or "" for delta in deltas) or None
    return [(names[0], json.loads(arguments))], text, chunks[-1]["choices"][0]["finish_reason"], chunks[-1]["ouvert"]


def responses(served, choice):
    choice = {"type": "function", **choice["function"]} if isinstance(choice, dict) else choice
    body = served.post("/v1/responses", input=ASKED, max_output_tokens=200, tools=RESPONSES, tool_choice=choice)
    calls = [
        (item["name"], json.loads(item["arguments"])) for item in body["output"] if item["type"] == "function_call"
    ]
    assert len(body["output"]) == len(calls)
    return calls, None, {"completed": "tool_calls"}[body["status"]], body["ouvert"]


def messages(served, choice):
    kind = {"auto": {"type": "auto"}, "required": {"type": "any"}}
    choice = {"type": "tool", "name": "set_timer"} if isinstance(choice, dict) else kind[choice]
    asked = [{"role": "user", "content": ASKED}]
    body = served.post("/v1/messages", messages=asked, max_tokens=200, tools=MESSAGES, tool_choice=choice)
    calls = [(block["name"], block["input"]) for block in body["content"] if block["type"] == "tool_use"]
    assert len(body["content"]) == len(calls)
    return calls, None, {"tool_use": "tool_calls"}[body["stop_reason"]], body["ouvert"]


def ollama(served, choice):
    body = served.post("/api/chat", messages=[{"role": "user", "content": ASKED}], tools=CHAT, stream=False)
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in body["message"]["tool_calls"]]
    return calls, body["message"]["content"] or None, "tool_calls", body["ouvert"]


# Without such a sentence this model likes to call again, whatever it was told.
AGENT = "Call a tool at most once. When its response is there, answer the user in one plain sentence."
NAMED = {"type": "function", "function": {"name": "set_timer"}}


@pytest.mark.parametrize("choice", ["required", NAMED])
@pytest.mark.parametrize("dialect", [chat, streamed_chat, responses, messages])
def test_a_call_that_is_required_comes_once(served, dialect, choice):
    calls, text, reason, beside = dialect(served, choice)
    assert (calls, text, reason) == (ONE, None, "tool_calls")
    assert beside["receipt"]["tokens"]["output"] < 40


@pytest.mark.parametrize("dialect", [chat, streamed_chat, responses, messages, ollama])
def test_a_call_that_is_left_to_the_model_is_a_call_though_it_has_no_tags(served, dialect):
    calls, text, reason, beside = dialect(served, "auto")
    assert (calls, text, reason) == (ONE, None, "tool_calls")
    assert beside["receipt"]["ended"]["calls_without_tags"] is True
    assert "without the marks of its format" in beside["notes"][0]


def test_in_python_too(coder):
    tools = [ouvert.Tool(name=name, description=text, parameters=schema) for name, text, schema in DECLARED]
    with ouvert.load(coder, context=2048) as model:
        for choice in ("required", "set_timer", "auto"):
            *_, finished = model.chat(ASKED, tools, tool_choice=choice, temperature=0, max_tokens=200)
            [call] = finished.tool_calls
            assert ((call.name, json.loads(call.arguments)), finished.reason) == (ONE[0], "tool_calls")


def test_a_loop_of_calls_and_results_comes_to_an_answer(served):
    """What the OpenAI Agents SDK does, with the library it does it with."""
    with openai.OpenAI(base_url=f"{served.base}/v1", api_key="none", max_retries=0) as client:
        said = [{"role": "system", "content": AGENT}, {"role": "user", "content": "What is the weather in Oslo?"}]
        run = []
        for _ in range(4):
            answer = client.chat.completions.create(
                model=served.model, messages=said, tools=CHAT[1:], temperature=0, max_tokens=200
            )
            message = answer.choices[0].message
            said.append(message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                run.append((call.function.name, json.loads(call.function.arguments)["city"]))
                result = json.dumps({"city": "Oslo", "sky": "snow", "celsius": -4})
                said.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert run == [("get_weather", "Oslo")]
    assert "snow" in message.content
    assert answer.choices[0].finish_reason == "stop"
