"""/v1/messages and /v1/messages/count_tokens, over a socket, with Anthropic's own client held to its types."""

import asyncio
import json

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from ouvert.serving.anthropic.blocks import signature_of
from ouvert.serving.anthropic.messages import MessagesRequest, asked

from .asking import ANSWER, CALL, QUESTION, TOOLS, body, fields

# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/v1/messages?beta=true"])
def test_a_question_is_answered(client, path):
    response = client.post(path, json=body(), headers={"anthropic-beta": "unheard-of-2031-01-01"})
    assert response.status_code == 200, response.text
    message = response.json()
    assert message["id"].startswith("msg_")
    assert message["content"] == [{"type": "text", "text": ANSWER}]
    assert {key: message[key] for key in ("type", "role", "model", "stop_reason", "stop_sequence")} == {
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


def test_a_stream_tells_the_same_message_in_order(client, sdk):
    response = client.post("/v1/messages", json=body(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in blocks]
    data = [json.loads(line.removeprefix("data: ")) for _, line in blocks]
    assert [event["type"] for event in data] == names
    deltas = names.count("content_block_delta")
    assert deltas > 1
    assert names == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert data[0]["message"]["content"] == []
    assert data[0]["message"]["stop_reason"] is None
    assert data[2]["content_block"] == {"type": "text", "text": ""}
    with sdk.messages.stream(**fields()) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[-1] == "message_stop"
    assert message.content[0].text == ANSWER
    assert message.stop_reason == "end_turn"
    assert data[-2]["usage"]["output_tokens"] == message.usage.output_tokens == 7


def test_every_event_follows_the_types(sdk):
    events = list(sdk.messages.create(**fields(stream=True)))
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert text == ANSWER
    assert events[-2].delta.stop_reason == "end_turn"


def test_an_asynchronous_client_is_answered(server):
    async def ask():
        async with AsyncAnthropic(base_url=server.base, api_key="x", _strict_response_validation=True) as sdk:
            message = await sdk.messages.create(**fields())
            async with sdk.messages.stream(**fields()) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            counted = await sdk.messages.count_tokens(model="tiny", messages=QUESTION)
            return message.content[0].text, text, counted.input_tokens

    whole, streamed, counted = asyncio.run(ask())
    assert whole == streamed == ANSWER
    assert counted > 0


def test_a_stream_that_is_closed_cancels_its_answer(start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "endless"
    model.symlink_to(speaking_model({"\n": "again", "again": "again"}))
    server = start_server(models=(str(model),))
    with Anthropic(base_url=server.base, api_key="x") as sdk:
        stream = sdk.messages.create(model="endless", max_tokens=1900, messages=QUESTION, stream=True)
        for event in stream:
            if event.type == "content_block_delta":
                break
        assert server.service.answers.in_flight == 1
        stream.close()
    server.idle()
    with server.client() as client:
        assert "\nouvert_answers_cancelled_total 1.0\n" in client.get("/metrics").text


def test_a_limit_is_max_tokens_and_a_stop_names_itself(sdk):
    short = sdk.messages.create(**fields(max_tokens=3))
    assert (short.stop_reason, short.content[0].text) == ("max_tokens", "Hello from a")
    stopped = sdk.messages.create(**fields(stop_sequences=["never", " tiny"]))
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " tiny")
    assert stopped.content[0].text == "Hello from a"
    events = list(sdk.messages.create(**fields(stop_sequences=[" tiny"], stream=True)))
    assert (events[-2].delta.stop_reason, events[-2].delta.stop_sequence) == ("stop_sequence", " tiny")


def test_a_full_context_is_said_as_such(start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "endless"
    model.symlink_to(speaking_model({"\n": "again", "again": "again"}))
    server = start_server(models=(str(model),), load_options={"threads": 1, "receipts": False, "context": 96})
    with Anthropic(base_url=server.base, api_key="x", max_retries=0) as sdk:
        message = sdk.messages.create(model="endless", max_tokens=4000, messages=QUESTION)
        assert message.stop_reason == "model_context_window_exceeded"
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 96 maximum"):
            sdk.messages.create(model="endless", max_tokens=4, messages=[{"role": "user", "content": "many " * 200}])


def test_what_was_kept_of_the_prompt_is_counted_apart(sdk):
    system = "Be brief. " * 60
    first, second = (sdk.messages.create(**fields(system=system)) for _ in range(2))
    assert second.usage.cache_read_input_tokens > 0
    total = [each.usage.input_tokens + each.usage.cache_read_input_tokens for each in (first, second)]
    assert (
        total[0] == total[1] == sdk.messages.count_tokens(model="tiny", system=system, messages=QUESTION).input_tokens
    )
    start, *_ = sdk.messages.create(**fields(system=system, stream=True))
    assert start.message.usage.input_tokens == total[0]


def test_sampling_reaches_the_model():
    request = MessagesRequest(**body(temperature=0.5, top_p=0, top_k=4, seed=-1, metadata={"user_id": "u"}))
    chosen = {"temperature": 0.5, "top_p": 1e-9, "top_k": 4, "seed": 2**64 - 1, "max_tokens": 100}
    assert request.sampling() == chosen


# --- what goes in -----------------------------------------------------------------------------------------------------


def read(**more):
    return asked(MessagesRequest(**body(**more))).conversation


KIND = {"type": "text", "text": "Be kind."}


def test_instructions_may_be_text_blocks_or_a_message():
    for more in (
        {"system": "Be brief.\n\nBe kind."},
        {
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "Be kind."},
            ]
        },
        {"messages": [{"role": "system", "content": "Be brief.\n\nBe kind."}, *QUESTION]},
    ):
        first, *_ = read(**more).messages
        assert (first.role, first.content) == ("system", "Be brief.\n\nBe kind.")


def test_a_history_of_blocks_becomes_messages():
    thought = "I should add."
    history = [
        {"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]},
        {"role": "user", "content": "Three."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": thought, "signature": signature_of(thought)},
                {"type": "text", "text": "Let me see."},
                CALL,
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And now?"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "no"}],
                    "is_error": True,
                },
            ],
        },
    ]
    user, assistant, tool, after = read(messages=history).messages
    assert (user.role, user.content) == ("user", "One.\n\nTwo.\n\nThree.")
    assert (assistant.content, assistant.reasoning) == ("Let me see.", thought)
    [call] = assistant.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("toolu_1", "sum", {"yes": True})
    assert (tool.role, tool.tool_call_id, tool.content) == ("tool", "toolu_1", "Error: no")
    assert (after.role, after.content) == ("user", "And now?")


def test_documents_of_text_are_read():
    blocks = [
        {
            "type": "document",
            "title": "Notes",
            "source": {"type": "text", "media_type": "text/plain", "data": "Plain."},
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Parts."}]}},
        {
            "type": "search_result",
            "source": "shelf 3",
            "title": "Found",
            "content": [{"type": "text", "text": "This."}],
        },
    ]
    [message] = read(messages=[{"role": "user", "content": blocks}]).messages
    assert message.content == "Notes\n\nPlain.\n\nParts.\n\nFound\n\nshelf 3\n\nThis."


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}, "text only"),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}, "PDF"),
        ({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}, "PDF"),
        ({"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}, "server_tool_use"),
        ({"type": "text"}, "missing"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(client, block, fault):
    nested = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [block]}
    for content, where in (([block], "messages[0].content[0]"), ([nested], "messages[0].content[0].content[0]")):
        response = client.post("/v1/messages", json=body(messages=[{"role": "user", "content": content}]))
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert where in error["message"]
        assert fault in error["message"]


def test_thoughts_are_recognised_by_their_signature():
    def history(**block):
        return [*QUESTION, {"role": "assistant", "content": [{"type": "thinking", **block}, CALL]}, *RESULT]

    for block, reasoning in (
        ({"thinking": "A", "signature": signature_of("A")}, "A"),
        ({"thinking": "A", "signature": "of another provider"}, "A"),
        ({"thinking": "", "signature": signature_of("A")}, None),  # display: omitted
    ):
        assert read(messages=history(**block)).messages[1].reasoning == reasoning
    with pytest.raises(Exception, match="changed"):
        read(messages=history(thinking="B", signature=signature_of("A")))


RESULT = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]}]


def test_hidden_thoughts_and_foreign_tools_are_left_out_and_said(client):
    hidden = [
        *QUESTION,
        {
            "role": "assistant",
            "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Yes."}],
        },
        *QUESTION,
    ]
    tools = [{"type": "web_search_20260318", "name": "web_search"}]
    answer = client.post("/v1/messages", json=body(messages=hidden, tools=tools)).json()
    notes = answer["ouvert"]["not_honoured"]
    assert any("redacted_thinking" in note for note in notes)
    assert any("web_search_20260318" in note for note in notes)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"messages": [*QUESTION, {"role": "assistant", "content": "I am"}]}, "last message"),
        ({"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"tool_choice": {"type": "any"}}, "tool"),
        ({"tool_choice": {"type": "tool"}, "tools": TOOLS}, "name"),
        ({"thinking": {"type": "between_tools"}}, "thinking"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]}, "tool_use_id"),
        (
            {
                "messages": [
                    *QUESTION,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "a"}]},
                    *RESULT,
                ]
            },
            "input",
        ),
    ],
)
def test_what_cannot_be_honoured_is_a_400_in_this_dialect(client, more, fault):
    response = client.post("/v1/messages", json=body(**more))
    assert response.status_code == 400, response.text
    assert set(response.json()) == {"type", "error"}
    assert set(response.json()["error"]) == {"type", "message"}
    assert fault in response.json()["error"]["message"]


def test_errors_are_those_the_client_knows(sdk, server):
    with pytest.raises(anthropic.NotFoundError) as missing:
        sdk.messages.create(**fields(model="nowhere"))
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.count_tokens(model="nowhere", messages=QUESTION)
    with server.client() as client:
        response = client.post("/v1/messages", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["type"] == "error"


def test_a_key_is_taken_from_either_header(start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    server = start_server(models=(str(model),), state=tmp_path_factory.mktemp("state"))
    _, secret = server.service.keys.create("someone", per_minute=2)

    def answer(**key):
        with Anthropic(base_url=server.base, max_retries=0, **key) as sdk:
            return sdk.messages.create(**fields()).content[0].text

    with pytest.raises(anthropic.AuthenticationError) as wrong:
        answer(api_key="wrong")
    assert wrong.value.body["error"]["type"] == "authentication_error"
    assert answer(api_key=secret) == answer(auth_token=secret) == ANSWER
    with pytest.raises(anthropic.RateLimitError) as many:
        answer(api_key=secret)
    assert many.value.body["error"]["type"] == "rate_limit_error"


def test_the_models_are_listed_for_this_client(sdk):
    assert "tiny" in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve("tiny").type == "model"


def test_the_receipt_rides_along(sdk, client):
    message = sdk.messages.create(**fields())
    assert message.ouvert["receipt"]["tokens"]["output"] == 7
    response = client.post("/v1/messages", json=body(stream=True, ouvert={"receipt": "full"}))
    answer_id = response.headers["x-ouvert-receipt"]
    lines = [line.removeprefix("data: ") for line in response.text.split("\n")]
    [told] = [json.loads(line) for line in lines if line.startswith('{"type":"message_delta"')]
    assert told["ouvert"]["receipt_id"] == answer_id
    [kept] = client.get(f"/v1/receipts/{answer_id}").json()["data"]
    assert told["ouvert"]["receipt"] == kept
