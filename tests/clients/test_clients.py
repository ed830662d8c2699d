"""What people already use, as they use it: each client against the same running server, offline."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

QUESTION = "What is 2+2?"
SAID = [{"role": "user", "content": QUESTION}]
SCHEMA = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}
FUNCTION = {"name": "decide", "description": "decides", "parameters": SCHEMA}


def test_openai(served, expected):
    from openai import OpenAI

    with OpenAI(base_url=served.v1, api_key="none", _strict_response_validation=True) as client:
        asked = {"model": served.speaks, "temperature": 0}
        chat = {**asked, "messages": SAID, "max_tokens": 24}
        assert client.chat.completions.create(**chat).choices[0].message.content == expected
        streamed = client.chat.completions.create(**chat, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in streamed) == expected
        respond = {**asked, "input": QUESTION, "max_output_tokens": 24}
        assert client.responses.create(**respond).output_text == expected
        events = list(client.responses.create(**respond, stream=True))
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == expected
        assert client.completions.create(**asked, prompt="The sea is", max_tokens=4).choices[0].text
        assert served.speaks in [model.id for model in client.models.list()]
        called = client.chat.completions.create(
            model=served.calls,
            messages=SAID,
            tools=[{"type": "function", "function": FUNCTION}],
            tool_choice="required",
            extra_body={"think_budget": 4},
            seed=1,
        )
        [call] = called.choices[0].message.tool_calls
        assert set(json.loads(call.function.arguments)) == {"yes"}


def test_anthropic(served, expected):
    from anthropic import Anthropic

    with Anthropic(base_url=served.base, api_key="none", _strict_response_validation=True) as client:
        asked = {"model": served.speaks, "messages": SAID, "max_tokens": 24, "extra_body": {"temperature": 0}}
        assert client.messages.create(**asked).content[0].text == expected
        with client.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == expected
        assert client.messages.count_tokens(model=served.speaks, messages=SAID).input_tokens > 5


def test_ollama(served, expected):
    import ollama

    client = ollama.Client(host=served.base)
    options = {"temperature": 0, "num_predict": 24}
    assert client.chat(served.speaks, SAID, options=options).message.content == expected
    pieces = client.chat(served.speaks, SAID, options=options, stream=True)
    assert "".join(piece.message.content for piece in pieces) == expected
    client._client.close()


def test_langchain_openai(served, expected):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=served.speaks, base_url=served.v1, api_key="none", temperature=0, max_tokens=24)
    assert model.invoke(QUESTION).content == expected
    assert "".join(piece.text for piece in model.stream(QUESTION)) == expected
    tiny = ChatOpenAI(model=served.calls, base_url=served.v1, api_key="none", seed=1, extra_body={"think_budget": 4})
    tools = [{"type": "function", "function": FUNCTION}]
    [call] = tiny.bind_tools(tools, tool_choice="required").invoke(QUESTION).tool_calls
    assert (call["name"], set(call["args"])) == ("decide", {"yes"})


def test_langchain_ollama(served, expected):
    from langchain_ollama import ChatOllama

    model = ChatOllama(model=served.speaks, base_url=served.base, temperature=0, num_predict=24)
    assert model.invoke(QUESTION).content == expected
    assert "".join(piece.content for piece in model.stream(QUESTION)) == expected


def test_litellm(served, expected, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it fetches a list of prices
    import litellm

    litellm.telemetry = False
    asked = {"messages": SAID, "temperature": 0, "max_tokens": 24}
    for model, base in (("openai/", served.v1), ("ollama_chat/", served.base), ("anthropic/", served.base)):
        answer = litellm.completion(model=model + served.speaks, api_base=base, api_key="none", **asked)
        assert answer.choices[0].message.content == expected, model


def test_llm_command(served, expected, tmp_path):
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: here\n  model_name: {served.speaks}\n  api_base: {served.v1}\n  api_key_name: here\n"
    )
    (tmp_path / "keys.json").write_text('{"here": "none"}')
    command = [sys.executable, "-m", "llm", "-m", "here", "-o", "temperature", "0", "-o", "max_tokens", "24", QUESTION]
    for more in ([], ["--no-stream"]):
        ran = subprocess.run(
            [*command, *more], capture_output=True, text=True, env={**os.environ, "LLM_USER_PATH": str(tmp_path)}
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == expected.strip()


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_openai_agents(served, api):
    """A tool loop as far as the tool's own answer: what this model of noise would say of it is nobody's concern."""
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    asked = []

    @agents.function_tool
    def decide(yes: bool) -> str:
        """Decides."""
        asked.append(yes)
        return "decided"

    async def run():
        client = AsyncOpenAI(base_url=served.v1, api_key="none")
        kind = agents.OpenAIResponsesModel if api == "responses" else agents.OpenAIChatCompletionsModel
        agent = agents.Agent(
            name="a",
            model=kind(model=served.calls, openai_client=client),
            tools=[decide],
            model_settings=agents.ModelSettings(
                tool_choice="required", extra_body={"think_budget": 4}, parallel_tool_calls=False
            ),
            tool_use_behavior="stop_on_first_tool",
        )
        result = await agents.Runner.run(agent, QUESTION)
        await client.close()
        return result.final_output

    assert asyncio.run(run()) == "decided"
    assert asked in ([True], [False])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("api", ["responses", "chat"])
def test_openai_agents_with_an_agent_of_ours(served, api, streamed):
    """`agent/NAME` is a model of theirs: our loop runs its tools, and theirs gets the end of it."""
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)

    async def run():
        client = AsyncOpenAI(base_url=served.v1, api_key="none")
        kind = agents.OpenAIResponsesModel if api == "responses" else agents.OpenAIChatCompletionsModel
        agent = agents.Agent(name="a", model=kind(model="agent/clerk", openai_client=client))
        if streamed:
            result = agents.Runner.run_streamed(agent, QUESTION)
            async for _ in result.stream_events():
                pass
        else:
            result = await agents.Runner.run(agent, QUESTION)
        await client.close()
        return result.final_output

    said = asyncio.run(run())
    with urllib.request.urlopen(f"{served.base}/ouvert/agents/runs") as answer:
        latest = json.load(answer)["data"][0]
    assert (latest["agent"], latest["task"], latest["answer"]) == ("clerk", QUESTION, said)
    assert latest["spent"]["steps"] in (1, 2)


def test_a_tool_loop_of_openai_agents_goes_on_behind_the_result(served):
    """The call, the tool's result sent back, and a turn behind it, over both interfaces."""
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    asked = []

    @agents.function_tool
    def decide(yes: bool) -> str:
        """Decides."""
        asked.append(yes)
        return "decided"

    async def run(kind):
        client = AsyncOpenAI(base_url=served.v1, api_key="none")
        settings = agents.ModelSettings(
            tool_choice="decide", max_tokens=64, extra_body={"think_budget": 4}, parallel_tool_calls=False
        )
        agent = agents.Agent(
            name="a", model=kind(model=served.calls, openai_client=client), tools=[decide], model_settings=settings
        )
        try:
            items = (await agents.Runner.run(agent, QUESTION, max_turns=3)).new_items
        except agents.MaxTurnsExceeded as ended:  # noise may call again and again
            items = ended.run_data.new_items
        await client.close()
        return [item.type for item in items]

    for kind in (agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel):
        asked.clear()
        types = [each for each in asyncio.run(run(kind)) if each != "reasoning_item"]
        assert types[:2] == ["tool_call_item", "tool_call_output_item"]
        assert len(types) > 2
        assert asked[0] in (True, False)


def test_openai_batches(served, expected):
    from openai import OpenAI

    body = {"model": served.speaks, "temperature": 0, "messages": SAID, "max_tokens": 24}
    line = {"custom_id": "only", "method": "POST", "url": "/v1/chat/completions", "body": body}
    with OpenAI(base_url=served.v1, api_key="none", _strict_response_validation=True) as client:
        file = client.files.create(file=("requests.jsonl", json.dumps(line).encode()), purpose="batch")
        assert client.files.wait_for_processing(file.id).status == "processed"
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        while batch.status in ("validating", "in_progress", "finalizing"):
            time.sleep(0.05)
            batch = client.batches.retrieve(batch.id)
        [answered] = client.files.content(batch.output_file_id).text.splitlines()
        assert json.loads(answered)["response"]["body"]["choices"][0]["message"]["content"] == expected
        assert batch.id in [each.id for each in client.batches.list()]
        assert client.files.delete(batch.output_file_id).deleted
