"""The assistant between a scripted engine and a scripted chat format: what becomes of deltas, stops and ends."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ouvert.assistant import (
    Assistant,
    ChatRequest,
    Finished,
    Message,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from ouvert.assistant.messages import as_conversation
from ouvert.chat import Conversation
from ouvert.chat.format import Rendered, Span
from ouvert.engine import BASE, EngineError, EngineFacts, Reading, Stopped, Token
from ouvert.engine.identity import NumericIdentity

DIGEST = "sha256:" + "0" * 64
READ = Reading(done=2, total=3, reused=1, seconds=0.5)
HELLO = ChatRequest(conversation=Conversation(messages=(Message(role="user", content="hello"),)))


class ScriptedGeneration:
    def __init__(self, tokens, reason):
        self.tokens, self.reason, self.given, self.cancelled = tokens, reason, 0, False

    def __iter__(self) -> Iterator[Token]:
        while not self.cancelled and self.given < len(self.tokens):
            self.given += 1
            token = self.tokens[self.given - 1]
            if isinstance(token, Exception):
                raise token
            yield Token(token)

    def reading(self):
        yield READ

    def cancel(self):
        self.cancelled = True

    @property
    def stopped(self):
        return Stopped(
            reason="cancelled" if self.cancelled else self.reason,
            prompt_tokens=3,
            reused_tokens=1,
            output_tokens=self.given,
            seed=5,
            seconds_queued=0.0,
            seconds_prefill=0.25,
            seconds_decode=0.5,
            joules=12.3456,
        )


class ScriptedEngine:
    context, vocabulary_size = 100, 100
    facts = EngineFacts(
        version="1",
        instruction_set="none",
        threads=1,
        identity=NumericIdentity(
            weights=DIGEST,
            configuration="sha256:" + "c" * 64,
            layout="none",
            arithmetic="scripted",
            build=None,
            exact=False,
            cache="f16",
        ),
    )

    def __init__(self, tokens, reason="stop"):
        self.generation = ScriptedGeneration(tokens, reason)
        self.asked = None

    def generate(self, ids, sampling, variant=BASE, *, written=(), first_turn=0, timeout=None, owner=""):
        self.asked = (ids, sampling)
        return self.generation

    def score(self, ids, top=0, variant=BASE):
        return [Token(i, -1.0) for i in ids[1:]]


class ScriptedFormat:
    """Token n of the answer becomes deltas[n]; what `finish` gives is `held`."""

    name, digest, stop_ids, guides = "scripted", DIGEST, frozenset({99}), False

    @property
    def variants(self):
        return (self,)

    def for_conversation(self, conversation):
        return self

    def __init__(self, deltas, held=(), tool_calls=(), reasoning_tokens=0):
        self.deltas, self.held = deltas, list(held)
        self.tool_calls, self.reasoning_tokens = list(tool_calls), reasoning_tokens
        self.finished_with = None

    def render(self, conversation):
        spans = (Span(0, 2, 0, None, "supplied"), Span(2, 3, None, None, "format"))
        return Rendered(ids=(1, 2, 3), spans=spans, text="")

    def parser(self, rendered):
        return self

    def push(self, token):
        return self.deltas.get(token, [])

    def finish(self, reason):
        self.finished_with = reason
        return self.held


def answer(deltas, tokens=None, *, reason="stop", stop=(), **more):
    """The events of an answer whose n-th token gives deltas[n]."""
    chat = ScriptedFormat(dict(enumerate(deltas)), **more)
    engine = ScriptedEngine(list(range(len(deltas))) if tokens is None else tokens, reason)
    return list(Assistant(engine, chat, "tiny", DIGEST).answer(replace(HELLO, stop=tuple(stop)))), chat, engine


def test_deltas_pass_in_order_and_finished_comes_last():
    deltas = [[ReasoningDelta("hm")], [], [TextDelta("a"), TextDelta("b")]]
    events, chat, _ = answer(deltas, reasoning_tokens=1)
    assert events[:-1] == [ReasoningDelta("hm"), TextDelta("a"), TextDelta("b")]
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.reasoning == 1
    assert (events[-1].usage.prompt, events[-1].usage.reused, events[-1].usage.output) == (3, 1, 3)
    assert chat.finished_with == "stop"


def test_how_far_the_prompt_is_read_comes_first_and_only_where_it_is_asked_for():
    for progress, before in ((True, [READ]), (False, [])):
        assistant = Assistant(ScriptedEngine([0]), ScriptedFormat({0: [TextDelta("a")]}), "tiny", DIGEST)
        *events, last = assistant.answer(replace(HELLO, progress=progress))
        assert events == [*before, TextDelta("a")]
        assert isinstance(last, Finished)


def test_the_formats_end_tokens_are_added_to_the_callers():
    chat, engine = ScriptedFormat({}), ScriptedEngine([])
    list(Assistant(engine, chat, "tiny", DIGEST).answer(replace(HELLO, sampling={"stop_ids": frozenset({7})})))
    assert engine.asked[0] == (1, 2, 3)
    assert engine.asked[1].stop_ids == {7, 99}


def test_a_stop_string_across_deltas_ends_the_answer_and_cancels_the_engine():
    events, chat, engine = answer([[TextDelta("a ST")], [TextDelta("OP b")], [TextDelta("c")]], stop=["STOP"])
    assert events[:-1] == [TextDelta("a ")]
    assert events[-1].reason == "stop"
    assert events[-1].receipt["ended"] == {"reason": "stop", "stop_string": "STOP"}
    assert engine.generation.cancelled
    assert engine.generation.given == 2
    assert chat.finished_with is None


def test_text_held_back_for_a_stop_string_comes_at_the_end():
    events, _, _ = answer([[TextDelta("a ST")]], stop=["STOP"], held=[TextDelta("O")])
    assert "".join(event.text for event in events[:-1]) == "a STO"


def test_a_stop_string_completed_by_what_the_parser_held_is_found():
    events, _, _ = answer([[TextDelta("a ST")]], stop=["STOP"], held=[TextDelta("OP"), TextDelta("never")])
    assert "".join(event.text for event in events[:-1]) == "a "
    assert events[-1].receipt["ended"]["stop_string"] == "STOP"


def test_stop_strings_are_not_looked_for_in_reasoning_or_calls():
    call = ToolCallDelta(0, "1", "f", '{"x": "STOP"}')
    events, _, _ = answer([[ReasoningDelta("STOP")], [TextDelta("a S")], [call]], stop=["STOP"])
    assert events[:-1] == [ReasoningDelta("STOP"), TextDelta("a "), TextDelta("S"), call]


def test_tool_calls_are_the_reason_where_there_are_any():
    calls = [ToolCall("1", "f", "{}")]
    events, _, _ = answer([[ToolCallDelta(0, "1", "f", "{}")]], tool_calls=calls)
    assert events[-1].reason == "tool_calls"
    assert events[-1].tool_calls == tuple(calls)


def test_an_answer_cut_short_says_so_even_with_calls():
    events, chat, _ = answer([[TextDelta("a")]], reason="length", tool_calls=[ToolCall("1", "f", "{}")])
    assert events[-1].reason == "length"
    assert chat.finished_with == "length"


def test_cancelling_still_finishes_and_shows_what_was_held():
    chat = ScriptedFormat({0: [TextDelta("a")], 1: [TextDelta("b")]}, held=[TextDelta("!")])
    engine = ScriptedEngine([0, 1, 2])
    written = Assistant(engine, chat, "tiny", DIGEST).answer(HELLO)
    assert next(written) == TextDelta("a")
    written.cancel()
    [text, finished] = written
    assert text == TextDelta("!")
    assert finished.reason == "cancelled"
    assert finished.usage.output == 1


def test_an_error_of_the_engine_reaches_the_caller():
    chat, engine = ScriptedFormat({0: [TextDelta("a")]}), ScriptedEngine([0, EngineError("NaN")])
    written = Assistant(engine, chat, "tiny", DIGEST).answer(HELLO)
    assert next(written) == TextDelta("a")
    with pytest.raises(EngineError, match="NaN"):
        next(written)


def test_the_receipt_counts_what_was_sent_of_each_message():
    events, _, _ = answer([[TextDelta("a")]])
    assert events[-1].receipt["messages"] == [{"role": "user", "sent": 2, "refused": 0}]
    assert events[-1].receipt["seconds"] == {"queued": 0.0, "prefill": 0.25, "decode": 0.5}
    assert events[-1].receipt["joules"] == 12.346
    assert events[-1].receipt["sampling"]["seed"] == 5


def test_scores_are_handed_on():
    assert Assistant(ScriptedEngine([]), ScriptedFormat({}), "tiny", DIGEST).score([1, 2]) == [Token(2, -1.0)]


def test_a_conversation_has_a_date_and_effort():
    conversation = as_conversation("hi", effort="low", thinking=False)
    assert conversation.messages == (Message(role="user", content="hi"),)
    assert conversation.date is not None
    assert (conversation.effort, conversation.thinking) == ("low", False)
