"""Constrained runs of a model of noise over the whole vocabulary: openai-harmony reads them without complaint.

The strict parser raises at every slip: a run that it reads to the end is well-formed Harmony, by construction.
"""

import json

import jsonschema
import pytest
from openai_harmony import Role, StreamableParser

from ouvert.assistant import Assistant, ChatRequest, Demands, ReasoningDelta, TextDelta, Tool
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.vocabulary import vocabulary_of
from ouvert.chat import format_for
from ouvert.engine import Grammar

ARGUMENTS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 10},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}
ANSWER = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
TOOLS = (Tool(name="weather", description="The weather", parameters=ARGUMENTS), Tool(name="time"))
ENDS = ("<|end|>", "<|return|>", "<|call|>")


@pytest.fixture(scope="module")
def vocabulary(o200k):
    tokenizer = o200k[1]
    return vocabulary_of(tokenizer, tokenizer.vocabulary_size)


@pytest.fixture
def written(o200k, vocabulary, noise):
    """written(seed, demands, schema) -> (tokens, events): an answer of noise held to Harmony."""
    tokenizer = o200k[1]

    def written(seed, demands, schema=None):
        ends = [tokenizer.control_tokens[text] for text in ENDS]
        engine = noise(tokenizer.vocabulary_size, seed, ends)
        made = Assistant(engine, format_for(tokenizer), "noise", tokenizer.digest, lambda: vocabulary)
        answer = made.answer(
            ChatRequest(
                conversation=as_conversation("?", TOOLS, schema=schema), sampling={"seed": seed}, demands=demands
            )
        )
        events = list(answer)
        return answer.token_ids, events

    return written


def strictly(encoding, tokens):
    parser = StreamableParser(encoding, Role.ASSISTANT)
    for token in tokens:
        parser.process(token)
    return parser.messages


def same(messages, events):
    """Our events say what openai-harmony's messages say."""
    *deltas, finished = events
    calls = [(m.recipient.removeprefix("functions."), m.content[0].text) for m in messages if m.recipient]
    assert [(call.name, call.arguments) for call in finished.tool_calls] == calls
    for kind, channels in ((ReasoningDelta, {"analysis"}), (TextDelta, {"commentary", "final"})):
        texts = [m.content[0].text for m in messages if not m.recipient and m.channel in channels and m.content[0].text]
        assert "".join(delta.text for delta in deltas if isinstance(delta, kind)) == "\n\n".join(texts)


@pytest.mark.parametrize("seed", range(15))
def test_whatever_it_wants_it_is_well_formed(o200k, written, seed):
    tokens, events = written(seed, Demands(think_budget=60))
    assert events[-1].reason in {"stop", "tool_calls"}
    same(strictly(o200k[0], tokens), events)


@pytest.mark.parametrize("seed", range(8))
def test_a_required_call_follows_its_schema(o200k, written, seed):
    tokens, events = written(seed, Demands(calls="required", tool="weather", think_budget=60))
    messages = strictly(o200k[0], tokens)
    same(messages, events)
    assert messages[-1].recipient == "functions.weather"
    assert messages[-1].channel == "commentary"
    assert messages[-1].content_type == "<|constrain|>json"
    jsonschema.validate(json.loads(messages[-1].content[0].text), ARGUMENTS)


@pytest.mark.parametrize("seed", range(8))
def test_a_final_answer_follows_its_schema(o200k, written, seed):
    demands = Demands(calls="none", answer=Grammar.json_schema(ANSWER), think_budget=60)
    tokens, events = written(seed, demands, ANSWER)
    messages = strictly(o200k[0], tokens)
    same(messages, events)
    assert messages[-1].channel == "final"
    jsonschema.validate(json.loads(messages[-1].content[0].text), ANSWER)


def test_the_transcript_of_a_tiny_gpt_oss_is_read_too(o200k, tiny_gpt_oss, tmp_path):
    """Its own small vocabulary, spelled out and read again with the large one."""
    import ouvert
    from ouvert.store import Store

    encoding = o200k[0]
    with ouvert.load(tiny_gpt_oss, store=Store(tmp_path)) as model:
        for seed in range(8):
            answer = model.chat(
                "Rain?", TOOLS, tool_choice="weather", think_budget=24, seed=seed, temperature=1.0, max_tokens=1500
            )
            *_, finished = answer
            text = model.detokenize(answer.token_ids, control=True)
            messages = strictly(encoding, encoding.encode(text, allowed_special="all"))
            [call] = finished.tool_calls
            assert messages[-1].recipient == f"functions.{call.name}"
            assert messages[-1].content[0].text == call.arguments
            jsonschema.validate(json.loads(call.arguments), ARGUMENTS)
