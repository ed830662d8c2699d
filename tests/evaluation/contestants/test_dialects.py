"""What is sent and read in each dialect, held to the types of the official libraries."""

import json
import typing

import anthropic
import anthropic.types.message_create_params as anthropic_params
import ollama
import openai
import openai.types.chat.completion_create_params as openai_params
import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from ouvert.evaluation import Chat
from ouvert.evaluation.contestants.dialects.anthropic import Anthropic
from ouvert.evaluation.contestants.dialects.dialect import (
    CannotAskError,
    Question,
    ReadingError,
    RefusedWithinError,
    count,
)
from ouvert.evaluation.contestants.dialects.gemini import Gemini
from ouvert.evaluation.contestants.dialects.ollama import Ollama
from ouvert.evaluation.contestants.dialects.openai import OpenAI
from ouvert.evaluation.contestants.pieces import Gathering

from .conftest import AFTER_A_CALL, WEATHER, events

SCHEMA = {
    "type": "object",
    "properties": {"town": {"type": "string"}},
    "required": ["town"],
    "additionalProperties": False,
}
PLAIN = Chat(messages=({"role": "user", "content": "Hi"},), max_tokens=16)
CHATS = {
    "plain": PLAIN,
    "a system says something": Chat(messages=(AFTER_A_CALL[0], AFTER_A_CALL[1]), max_tokens=16),
    "tools and their results": Chat(messages=AFTER_A_CALL, max_tokens=16, tools=(WEATHER,)),
    "a tool has to be called": Chat(messages=PLAIN.messages, max_tokens=16, tools=(WEATHER,), tool_choice="required"),
    "this tool": Chat(messages=PLAIN.messages, max_tokens=16, tools=(WEATHER,), tool_choice="get_weather"),
    "none of the tools": Chat(messages=PLAIN.messages, max_tokens=16, tools=(WEATHER,), tool_choice="none"),
    "held to a schema": Chat(messages=PLAIN.messages, max_tokens=16, schema=SCHEMA),
}


def question(chat=PLAIN, **fields):
    return Question(**{"chat": chat, "model": "m", "max_tokens": 4112, "effort": "low", **fields})


def gathered(dialect, *stream):
    gathering = Gathering()
    for event in stream:
        for piece in dialect.pieces(event):
            gathering.take(piece)
    return gathering


# --- OpenAI ---


@pytest.mark.parametrize("hosted", [True, False])
@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS.keys())
def test_openais_library_sends_what_we_send(stub, chat, hosted):
    request = OpenAI(hosted=hosted).request(question(chat, temperature=0.5, seed=3))
    TypeAdapter(openai_params.CompletionCreateParamsStreaming).validate_python(request.body)
    stub.says("/v1/chat/completions", events({"choices": []}, b"[DONE]"))
    with openai.OpenAI(base_url=f"{stub.base}/v1", api_key="k", max_retries=0) as sdk:
        list(sdk.chat.completions.create(**request.body))
    assert stub.bodies("/v1/chat/completions") == [request.body]
    assert stub.asked[0].headers["authorization"] == OpenAI(hosted=hosted).headers("k")["authorization"]


def test_openai_is_told_not_to_store_and_others_are_not_asked_what_they_do_not_know():
    hosted, other = (OpenAI(hosted=each).request(question()).body for each in (True, False))
    assert hosted["store"] is False
    assert hosted["max_completion_tokens"] == 4112
    assert "max_tokens" not in hosted
    assert other["max_tokens"] == 4112
    assert not other.keys() & {"store", "max_completion_tokens"}


def test_nothing_is_sent_of_sampling_where_the_provider_chooses():
    assert not OpenAI(hosted=True).request(question()).body.keys() & {"temperature", "seed", "top_p"}


def chunk(delta, **more):
    fields = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-2025-08-07"}
    whole = {**fields, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}
    return ChatCompletionChunk.model_validate(whole, strict=True) and whole


def test_openais_chunks_are_read():
    usage = {"prompt_tokens": 9, "completion_tokens": 70, "total_tokens": 79,
             "completion_tokens_details": {"reasoning_tokens": 64}}  # fmt: skip
    last = chunk({}) | {"choices": [], "usage": usage, "system_fingerprint": "fp_1"}
    ChatCompletionChunk.model_validate(last, strict=True)
    found = gathered(
        OpenAI(hosted=True), chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}),
        chunk({"content": "lo"}), chunk({}, finish_reason="stop"), last,
    )  # fmt: skip
    assert (found.outcome().text, found.outcome().reason) == ("Hello", "stop")
    assert (found.used.prompt, found.used.output, found.used.thoughts) == (9, 70, 64)
    assert found.said == {"id": "c1", "model": "gpt-5-2025-08-07", "system_fingerprint": "fp_1"}


# --- Anthropic ---


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS.keys())
def test_anthropics_library_sends_what_we_send(stub, chat):
    request = Anthropic().request(question(chat))
    TypeAdapter(anthropic_params.MessageCreateParamsStreaming).validate_python(request.body)
    assert request.body.keys() <= typing.get_type_hints(anthropic_params.MessageCreateParamsStreaming).keys()
    stub.says("/v1/messages", events({"type": "message_stop"}))
    with anthropic.Anthropic(base_url=stub.base, api_key="k", max_retries=0) as sdk:
        list(sdk.messages.create(**request.body))
    assert stub.bodies("/v1/messages") == [request.body]
    assert stub.asked[0].headers["anthropic-version"] == Anthropic().headers("k")["anthropic-version"]


def test_results_of_several_tools_are_one_message_of_the_user():
    body = Anthropic().request(question(CHATS["tools and their results"])).body
    assert body["system"] == "Be brief."
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [each["tool_use_id"] for each in body["messages"][2]["content"]] == ["c1", "c2"]


def anthropic_stream(stop="end_turn"):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-20260101", "content": [],
               "stop_reason": None, "stop_sequence": None,
               "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}}  # fmt: skip
    return [
        {"type": "message_start", "message": message},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Well"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Let me look."}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2,
         "content_block": {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"town"'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ': "Lyon"}'}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
         "usage": {"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 12}}},
        {"type": "message_stop"},
    ]  # fmt: skip


def test_anthropics_events_are_read_as_its_own_library_reads_them(stub):
    stub.says("/v1/messages", events(*anthropic_stream("tool_use")))
    with (
        anthropic.Anthropic(base_url=stub.base, api_key="k", max_retries=0) as sdk,
        sdk.messages.stream(model="m", max_tokens=16, messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        theirs = stream.get_final_message()
    found = gathered(Anthropic(), *anthropic_stream("tool_use"))
    outcome = found.outcome()
    assert outcome.thoughts == theirs.content[0].thinking
    assert outcome.text == theirs.content[1].text
    assert (outcome.calls[0].name, json.loads(outcome.calls[0].arguments)) == ("get_weather", theirs.content[2].input)
    assert outcome.reason == "tool_calls"
    assert (found.used.prompt, found.used.output, found.used.thoughts) == (15, 30, 12)
    assert found.said == {"id": "msg_1", "model": "claude-x-20260101"}


def test_an_event_that_anthropic_may_add_says_nothing():
    assert list(Anthropic().pieces({"type": "invented", "delta": 7})) == []


@pytest.mark.parametrize(("theirs", "ours"), [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "refusal")])
def test_anthropics_reasons_have_our_names(theirs, ours):
    kept = [event for event in anthropic_stream(theirs) if event.get("index") != 2]
    assert gathered(Anthropic(), *kept).outcome().reason == ours


# --- Gemini ---


def test_a_question_to_gemini_has_the_fields_of_its_reference():
    request = Gemini().request(question(CHATS["tools and their results"]))
    assert request.path == "/models/m:streamGenerateContent?alt=sse"
    assert request.body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [content["role"] for content in request.body["contents"]] == ["user", "model", "user", "user"]
    assert request.body["contents"][1]["parts"][0] == {
        "functionCall": {"name": "get_weather", "args": {"town": "Lyon"}}
    }
    assert request.body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "get_weather", "response": {"result": "rain"}}}
    ]
    (declared,) = request.body["tools"][0]["functionDeclarations"]
    assert declared["parametersJsonSchema"] == WEATHER["function"]["parameters"]
    assert request.body["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}
    assert request.body["generationConfig"] == {
        "maxOutputTokens": 4112,
        "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
    }


def test_gemini_is_held_to_a_schema_and_to_one_tool():
    settings = Gemini().request(question(CHATS["held to a schema"])).body["generationConfig"]
    assert settings["responseMimeType"] == "application/json"
    assert settings["responseJsonSchema"] == SCHEMA
    calling = Gemini().request(question(CHATS["this tool"])).body["toolConfig"]["functionCallingConfig"]
    assert calling == {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}


def test_a_key_of_gemini_stands_in_a_header_and_not_in_the_address():
    assert Gemini().headers("k") == {"x-goog-api-key": "k"}
    assert "key" not in Gemini().request(question()).path


def test_geminis_events_are_read():
    def part(**parts):
        return {"candidates": [{"content": {"role": "model", "parts": [parts]}, "index": 0}], "modelVersion": "g-002"}

    usage = {"promptTokenCount": 8, "candidatesTokenCount": 4, "thoughtsTokenCount": 20, "totalTokenCount": 32}
    end = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage, "responseId": "r1"}
    call = {"name": "get_weather", "args": {"town": "Lyon"}}
    found = gathered(
        Gemini(),
        part(text="Well", thought=True),
        part(text="Let me look."),
        part(functionCall=call, thoughtSignature="x"),
        end,
    )
    outcome = found.outcome()
    assert (outcome.thoughts, outcome.text, outcome.reason) == ("Well", "Let me look.", "tool_calls")
    assert json.loads(outcome.calls[0].arguments) == {"town": "Lyon"}
    assert (found.used.prompt, found.used.output, found.used.thoughts) == (8, 24, 20)
    assert found.said == {"model": "g-002", "id": "r1"}


def test_a_question_that_gemini_blocks_ends_with_the_reason():
    found = gathered(Gemini(), {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    assert found.outcome().reason == "blocked: SAFETY"


# --- Ollama ---


@pytest.mark.parametrize("name", [name for name in CHATS if name not in ("a tool has to be called", "this tool")])
def test_ollamas_library_knows_every_field_that_we_send(name):
    body = dict(Ollama().request(question(CHATS[name], temperature=0.0, seed=1, context=4096)).body)
    assert (body.pop("truncate"), body.pop("shift")) == (False, False)  # newer than the library's types
    theirs = ollama._types.ChatRequest.model_validate(body).model_dump(exclude_none=True)
    assert theirs["options"] == body["options"]
    assert theirs.keys() == body.keys()


# --- all ---

DIALECTS = [OpenAI(hosted=True), OpenAI(hosted=False), Anthropic(), Gemini(), Ollama()]


@pytest.mark.parametrize("dialect", DIALECTS, ids=repr)
def test_a_message_that_is_no_text_cannot_be_asked(dialect):
    image = Chat(messages=({"role": "user", "content": [{"type": "image_url"}]},), max_tokens=16)
    with pytest.raises(CannotAskError):
        dialect.request(question(image))


@pytest.mark.parametrize("dialect", DIALECTS[2:], ids=repr)
def test_arguments_that_are_no_object_cannot_be_asked_where_they_have_to_be_one(dialect):
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "not JSON"}}
    messages = ({"role": "assistant", "content": None, "tool_calls": [call]},)
    with pytest.raises(CannotAskError, match="not JSON"):
        dialect.request(question(Chat(messages=messages, max_tokens=16, tools=(WEATHER,))))


@pytest.mark.parametrize("dialect", DIALECTS, ids=repr)
@pytest.mark.parametrize("event", [{}, {"other": 1}])
def test_an_event_of_another_dialect_is_no_answer(dialect, event):
    with pytest.raises(ReadingError):
        list(dialect.pieces(event))


@pytest.mark.parametrize(
    ("dialect", "event", "passing"),
    [
        (OpenAI(hosted=True), {"error": {"message": "no", "type": "server_error"}}, True),
        (OpenAI(hosted=True), {"error": "no"}, False),
        (Anthropic(), {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, True),
        (Anthropic(), {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, False),
        (Gemini(), {"error": {"code": 503, "status": "UNAVAILABLE", "message": "no"}}, True),
        (Ollama(), {"error": "no"}, False),
    ],
)
def test_an_error_within_a_stream_says_whether_asking_again_may_help(dialect, event, passing):
    with pytest.raises(RefusedWithinError, match="no") as raised:
        list(dialect.pieces(event))
    assert raised.value.passing is passing


@pytest.mark.parametrize("said", [10**40, -1, True, 1.5, "7", None])
def test_a_count_that_no_answer_has_is_not_known(said):
    assert count(said) is None
    assert count(7) == 7
