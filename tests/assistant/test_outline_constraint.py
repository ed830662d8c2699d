"""Answers held to their outline: a model of noise writes them without a slip, whatever is demanded."""

import json
import re
import time

import jsonschema
import pytest

from ouvert.assistant import (
    Assistant,
    AssistantError,
    Best,
    Demands,
    Finished,
    Likelihood,
    Message,
    ReasoningDelta,
    TextDelta,
    Tool,
)
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.receipts.ended import Outcome
from ouvert.assistant.request import ChatRequest
from ouvert.chat import ChatError
from ouvert.engine import EngineError, Grammar

ARGUMENTS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 6}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = Tool(name="weather", description="The weather", parameters=ARGUMENTS)
TIME = Tool(name="time")
ANSWER = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}, "why": {"enum": ["sun", "rain"]}},
    "required": ["yes", "why"],
    "additionalProperties": False,
}
SHAPED = Demands(answer=Grammar.json_schema(ANSWER))
SEEDS = range(8)
# Where thoughts, calls and answers can be told apart, in every spelling there is.
CALLING = (
    *("harmony", "qwen3", "r1", "chatml", "llama3", "mistral", "mistral-tekken", "mistral-v11"),
    *("deepseek", "deepseek-v3.1", "kimi"),
)


def ask(made, demands=Demands(), *, tools=(), thinking=None, schema=None, **sampling):  # noqa: B008
    assistant, tokenizer = made
    talk = as_conversation("Well?", tools, thinking=thinking, schema=schema)
    answer = assistant.answer(ChatRequest(conversation=talk, sampling={"seed": 1} | sampling, demands=demands))
    *deltas, finished = answer
    assert isinstance(finished, Finished)
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    return text, reasoning, finished, tokenizer.decode(answer.token_ids, control=True)


# --- Harmony ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_harmony_is_well_formed_even_where_nobody_demands_anything(assistant, seed):
    _, _, finished, written = ask(assistant("harmony", seed), tools=[WEATHER, TIME])
    assert finished.reason in {"stop", "tool_calls"}
    *before, last = written.split("<|start|>assistant")
    for part in before:
        assert part.startswith(("<|channel|>analysis<|message|>", "<|channel|>commentary<|message|>"))
        assert part.endswith("<|end|>")
    if finished.tool_calls:
        [call] = finished.tool_calls
        begin = f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
        assert last == begin + call.arguments + "<|call|>"
        jsonschema.validate(json.loads(call.arguments), ARGUMENTS if call.name == "weather" else {"maxProperties": 0})
    else:
        assert last.startswith("<|channel|>final<|message|>")
        assert last.endswith("<|return|>")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_harmonys_final_text_follows_the_schema_and_its_thoughts_do_not(assistant, seed, temperature):
    text, _, finished, written = ask(
        assistant("harmony", seed), SHAPED, schema=ANSWER, temperature=temperature, max_tokens=5000
    )
    if finished.reason == "length":  # greedy noise may go round in its thoughts for ever
        assert temperature == 0
        return
    jsonschema.validate(json.loads(text), ANSWER)
    assert written.endswith(f"<|channel|>final<|message|>{text}<|return|>")
    assert ("<|channel|>analysis" in written) == (finished.usage.reasoning > 0)
    assert finished.receipt["asked"]["answer"]["grammar"] == "json schema"


@pytest.mark.parametrize("seed", range(20))
def test_beside_tools_the_whole_text_is_still_the_answer_and_nothing_else(assistant, seed):
    """A preamble would be text before it."""
    text, _, finished, _ = ask(assistant("harmony", seed), SHAPED, tools=[WEATHER], schema=ANSWER, max_tokens=5000)
    if finished.tool_calls:
        assert text == ""
    else:
        jsonschema.validate(json.loads(text), ANSWER)


def test_harmony_shows_the_schema_to_the_model(assistant):
    made, _ = assistant("harmony")
    rendered = made.chat.render(as_conversation("Well?", schema=ANSWER))
    assert "# Response Formats" in rendered.text


@pytest.mark.parametrize("family", CALLING)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_required_call_comes_and_follows_its_schema(assistant, family, seed):
    text, _, finished, written = ask(
        assistant(family, seed), Demands(calls="required"), tools=[WEATHER, TIME], max_tokens=5000
    )
    assert finished.reason == "tool_calls", written
    for call in finished.tool_calls:
        expected = ARGUMENTS if call.name == "weather" else {"type": "object", "maxProperties": 0}
        jsonschema.validate(json.loads(call.arguments), expected)
    if family != "harmony":  # a preamble is text
        assert text.strip() == ""
    assert finished.receipt["asked"]["tool_choice"] == "required"


@pytest.mark.parametrize("family", CALLING)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_named_tool_is_the_one_that_is_called(assistant, family, seed):
    demands = Demands(calls="required", tool="time")
    _, _, finished, _ = ask(assistant(family, seed), demands, tools=[WEATHER, TIME], max_tokens=5000)
    assert {call.name for call in finished.tool_calls} == {"time"}
    assert finished.receipt["asked"]["tool_choice"] == "time"


@pytest.mark.parametrize("family", ["harmony", "qwen3", "r1", "llama3", "mistral", "deepseek", "kimi"])
@pytest.mark.parametrize("seed", SEEDS)
def test_without_calls_none_comes(assistant, family, seed):
    _, _, finished, _ = ask(assistant(family, seed), Demands(calls="none"), tools=[WEATHER], max_tokens=600)
    assert finished.tool_calls == ()
    assert finished.reason in {"stop", "length"}


# --- templates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["chatml", "qwen3", "r1", "llama3", "mistral"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_templates_final_text_follows_the_schema(assistant, family, seed):
    text, reasoning, finished, written = ask(assistant(family, seed), SHAPED, schema=ANSWER, max_tokens=5000)
    assert finished.reason == "stop"
    jsonschema.validate(json.loads(text), ANSWER)
    if family == "r1":
        assert "</think>" in written
        assert finished.usage.reasoning > 0
    if family in {"chatml", "llama3", "mistral"}:
        assert reasoning == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_where_thinking_is_off_the_answer_begins_at_once(assistant, seed):
    text, reasoning, _, written = ask(assistant("qwen3", seed), SHAPED, thinking=False)
    assert "think>" not in written
    assert reasoning == ""
    jsonschema.validate(json.loads(text), ANSWER)


def test_a_thinking_template_may_answer_call_or_think_first(assistant):
    kinds = set()
    for seed in range(40):
        text, reasoning, finished, written = ask(
            assistant("qwen3", seed, 1.0), SHAPED, tools=[WEATHER], max_tokens=5000
        )
        if finished.tool_calls:
            kinds.add("call")
            assert text == ""
            assert all(call.name == "weather" for call in finished.tool_calls)
        else:
            kinds.add("answer")
            jsonschema.validate(json.loads(text), ANSWER)
        kinds |= {"thought"} if reasoning else set()
        assert written.count("<think>") == written.count("</think>") <= 1
    assert kinds == {"call", "answer", "thought"}


BY_TEMPLATE = tuple(family for family in CALLING if family not in ("harmony", "qwen3", "r1"))  # theirs show no history


@pytest.mark.parametrize("family", BY_TEMPLATE)
def test_calls_are_written_as_the_template_writes_them_one_turn_later(assistant, family):
    """But for white space in the arguments, and Mistral's ids, which are not the model's to know."""
    most = 0
    for seed in SEEDS:
        made, tokenizer = assistant(family, seed, -0.5)
        demands = Demands(calls="required")
        _, _, finished, written = ask((made, tokenizer), demands, tools=[WEATHER, TIME], max_tokens=5000)
        calls = finished.tool_calls
        most = max(most, len(calls))
        for call in calls:
            written = written.replace(call.arguments, json.dumps(json.loads(call.arguments), ensure_ascii=False), 1)
        said = Message(role="assistant", tool_calls=calls)
        asked = Message(role="user", content="Well?")
        later = made.chat.render(as_conversation([asked, said, asked], [WEATHER, TIME])).text
        thought, _, after = written.rpartition("</think>")
        body = (after if thought else written).strip()
        for end in (*map(tokenizer.token_bytes, made.chat.stop_ids), "<｜tool▁calls▁end｜>".encode()):
            body = body.removesuffix(end.decode()).strip()  # behind the last call only what ends the answer has to be
        assert re.sub(r', "id": "\w{9}"', "", later).count(body) == 1
    assert (most > 1) == (family != "llama3")  # side by side, too


@pytest.mark.parametrize("family", BY_TEMPLATE)
def test_where_one_call_is_wanted_the_list_is_closed_behind_it(assistant, family):
    for seed in SEEDS:
        made = assistant(family, seed, 1.0)
        demands = Demands(calls="required", one_call=True)
        _, _, finished, written = ask(made, demands, tools=[WEATHER, TIME], max_tokens=5000)
        assert (len(finished.tool_calls), finished.reason) == (1, "tool_calls")
        parser = made[0].chat.parser(made[0].chat.render(as_conversation("Well?", [WEATHER, TIME])))
        for token in made[1].ids(written):
            parser.push(token)
        parser.finish("stop")
        assert len(parser.tool_calls) == 1  # nothing was cut off what it wrote: there was no second


def test_kimis_calls_are_numbered_through_the_whole_conversation(assistant):
    call = {"id": "functions.time:0", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    before = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.time:0", "content": "noon"},
    ]
    numbers = set()
    for seed in SEEDS:
        made, tokenizer = assistant("kimi", seed, 1.0)
        answer = made.answer(
            ChatRequest(
                conversation=as_conversation(before, [TIME]),
                sampling={"seed": seed},
                demands=Demands(calls="required"),
            )
        )
        *_, finished = answer
        written = re.findall(r"functions\.time:(\d+)", tokenizer.decode(answer.token_ids, control=True))
        assert written == [str(n + 1) for n in range(len(finished.tool_calls))]
        assert len({each.id for each in finished.tool_calls}) == len(written)  # clients get ids nobody else has
        numbers.add(len(finished.tool_calls))
    assert len(numbers) > 1


@pytest.mark.parametrize("family", ["mistral", "mistral-v11", "deepseek", "kimi"])
def test_beside_a_form_of_the_answer_calls_stay_possible(assistant, family):
    called = set()
    for seed in range(30):
        text, _, finished, _ = ask(
            assistant(family, seed, 1.0), SHAPED, tools=[WEATHER], thinking=None, max_tokens=5000
        )
        called.add(bool(finished.tool_calls))
        if finished.tool_calls:
            assert text == ""
            assert {call.name for call in finished.tool_calls} == {"weather"}
        else:
            jsonschema.validate(json.loads(text), ANSWER)
    assert called == {True, False}


@pytest.mark.parametrize(
    ("family", "name"),
    [("deepseek", "a\n```json\nb"), ("kimi", "a\nb"), ("mistral-v11", " a"), ("deepseek-v3.1", "<｜tool▁sep｜>")],
)
def test_a_name_that_could_not_be_read_back_is_refused(assistant, family, name):
    with pytest.raises(ChatError, match="cannot be told from what stands around it"):
        ask(assistant(family), Demands(calls="required"), tools=[Tool(name=name)])


def test_a_form_beside_calls_that_begin_alike_is_refused(assistant):
    with pytest.raises(ChatError, match="not beside a form of the answer"):
        ask(assistant("llama3"), SHAPED, tools=[TIME])


# --- the budget for thinking ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0, 1, 7, 40])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_budget_ends_harmonys_thoughts_cleanly(assistant, budget, seed):
    _, reasoning, finished, written = ask(
        assistant("harmony", seed, favour=-9.0), Demands(think_budget=budget), max_tokens=500
    )
    thoughts = written.count("<|channel|>analysis<|message|>")
    marks = 1 + len("analysis") + 1 + 1  # <|channel|>, a byte each, <|message|>; <|end|>
    assert finished.usage.reasoning <= budget + thoughts * marks + 3  # a character that had begun
    assert "<|channel|>final<|message|>" in written
    cut = finished.receipt["ended"].get("thinking_cut", False)
    assert cut == (thoughts > 0)  # noise that shuns control tokens never ends by itself
    assert finished.receipt["asked"]["think_budget"] == budget
    assert written.startswith("<|channel|>analysis<|message|>" if thoughts else "<|channel|>final<|message|>")
    if thoughts:
        assert len(reasoning) <= budget + 3
        assert "<|end|><|start|>assistant<|channel|>final<|message|>" in written
    if budget == 0:
        assert thoughts == 0


@pytest.mark.parametrize("budget", [0, 5])
def test_a_budget_ends_a_templates_thoughts_cleanly(assistant, budget):
    _, _, finished, written = ask(assistant("r1", 3, favour=-9.0), Demands(think_budget=budget), max_tokens=60)
    thought, answer = written.split("\n</think>\n\n")
    assert len(thought.encode(errors="replace")) >= budget
    assert answer
    assert finished.receipt["ended"]["thinking_cut"] is True
    assert 0 <= finished.usage.reasoning - (budget + 2) <= 3  # the thoughts, a line break, </think>


def test_a_budget_lets_a_character_that_has_begun_come_to_its_end(assistant):
    made, tokenizer = assistant("harmony")
    face = "\U0001f600"
    talk = as_conversation("?")
    constraint = made.constraints.of(talk, made.chat.render(talk), Demands(think_budget=2), Outcome())
    following = constraint.begin()
    for token in tokenizer.ids(f"<|channel|>analysis<|message|>{face}"):
        following.advance(token)
    assert following.allowed().tolist() == tokenizer.ids("<|end|>")  # four tokens instead of two, none instead of half
    broken = constraint.begin()
    for token in [*tokenizer.ids("<|channel|>analysis<|message|>"), 0xF0, 0xF0, 0xF0, 0xF0, 0xF0]:
        broken.advance(token)
    assert broken.allowed().tolist() == tokenizer.ids("<|end|>")  # bytes that never become one are not waited for


@pytest.mark.parametrize("seed", SEEDS)
def test_a_budget_of_nothing_keeps_a_template_from_opening_thoughts(assistant, seed):
    _, _, _, written = ask(assistant("qwen3", seed), Demands(think_budget=0), max_tokens=50)
    assert not written.startswith("<think>")


def test_behind_a_cut_thought_a_required_call_still_comes(assistant):
    for seed in SEEDS:
        demands = Demands(calls="required", think_budget=3)
        _, _, finished, written = ask(assistant("harmony", seed), demands, tools=[TIME], max_tokens=5000)
        assert [call.name for call in finished.tool_calls] == ["time"], written


def test_a_budget_where_nobody_thinks_is_refused(assistant):
    with pytest.raises(AssistantError, match="does not think"):
        ask(assistant("chatml"), Demands(think_budget=10))
    with pytest.raises(AssistantError, match="expected 0 tokens or more"):
        ask(assistant("harmony"), Demands(think_budget=-1))


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_constraint_on_a_whole_conversation_is_refused(assistant):
    made, _ = assistant("harmony")
    constraint = made.grammars.compiled(Grammar.regex("a"))
    with pytest.raises(AssistantError, match="response_schema"):
        made.answer(ChatRequest(conversation=as_conversation("?"), sampling={"constraint": constraint}))


def test_what_cannot_be_kept_of_a_tools_schema_loosens_its_own_place_and_the_receipt_says_so(assistant):
    schema = {**ARGUMENTS, "properties": {**ARGUMENTS["properties"], "days": {"type": "integer", "not": {"const": 7}}}}
    odd = Tool(name="odd", parameters=schema)
    demands = Demands(calls="required", think_budget=5)
    _, _, finished, _ = ask(assistant("harmony", 1), demands, tools=[odd], max_tokens=5000)
    note = "tools: odd: #/properties/days: the keyword 'not'"
    assert finished.receipt["asked"]["schemas_loosened"] == [note]
    for call in finished.tool_calls:
        arguments = json.loads(call.arguments)
        assert set(arguments) == {"city", "days"}
        assert isinstance(arguments["days"], int)


def test_parameters_that_are_no_object_are_loosened_to_one_or_refused(assistant):
    array = {"type": "array", "items": {"type": "integer"}}
    demands = Demands(calls="required")
    _, _, finished, _ = ask(assistant("qwen3", 1), demands, tools=[Tool(name="f", parameters=array)], max_tokens=900)
    [note] = finished.receipt["asked"]["schemas_loosened"]
    assert note == "tools: f: #: the type 'array' where arguments are an object"
    assert all(isinstance(json.loads(call.arguments), dict) for call in finished.tool_calls)
    with pytest.raises(EngineError, match="at # it has the type 'array'"):
        ask(assistant("qwen3"), demands, tools=[Tool(name="f", parameters=array, strict=True)])
    either = {"anyOf": [{"type": "string"}, ARGUMENTS]}
    _, _, finished, _ = ask(assistant("qwen3", 1), demands, tools=[Tool(name="f", parameters=either)], max_tokens=5000)
    for call in finished.tool_calls:
        jsonschema.validate(json.loads(call.arguments), ARGUMENTS)


def test_strict_is_honoured_or_refused(assistant):
    strict = Tool(name="weather", parameters=ARGUMENTS, strict=True)
    assert as_conversation("?", [{"type": "function", "function": {"name": "f", "strict": True}}]).tools[0].strict
    for family, demands in (("harmony", Demands(think_budget=9)), ("qwen3", Demands(calls="required"))):
        _, _, finished, _ = ask(assistant(family, 1), demands, tools=[strict], max_tokens=5000)
        for call in finished.tool_calls:
            jsonschema.validate(json.loads(call.arguments), ARGUMENTS)
    with pytest.raises(AssistantError, match="held to a schema only with tool_choice 'required'"):
        ask(assistant("qwen3"), tools=[strict])
    odd = Tool(name="odd", parameters={"type": "object", "not": {}}, strict=True)
    with pytest.raises(EngineError, match="not"):  # never loosened
        ask(assistant("harmony"), tools=[odd])


def test_a_schema_of_the_answer_that_is_too_much_is_an_error(assistant):
    with pytest.raises(EngineError, match="not"):
        ask(assistant("harmony"), Demands(answer=Grammar.json_schema({"not": {}})))
    lenient = Demands(answer=Grammar.json_schema({**ANSWER, "not": {}}, strict=False))
    text, _, finished, _ = ask(assistant("harmony", 1), lenient, max_tokens=5000)
    jsonschema.validate(json.loads(text), ANSWER)
    assert finished.receipt["asked"]["schemas_loosened"] == ["response_format: #: the keyword 'not'"]


def test_demands_need_a_vocabulary(assistant):
    made, _ = assistant("chatml")
    bare = Assistant(made.engine, made.chat, "noise", "sha256:0")
    with pytest.raises(AssistantError, match="vocabulary is not known"):
        bare.answer(ChatRequest(conversation=as_conversation("?"), demands=SHAPED))


def test_of_several_candidates_one_that_fails_ends_the_others(assistant):
    made, _ = assistant("chatml", favour=-9.0)  # it never ends by itself
    endless = made.answer(ChatRequest(conversation=as_conversation("?"), sampling={"seed": 1, "logprobs": 0}))

    class Fails:
        likelihood = Likelihood()

        def __iter__(self):
            until = time.monotonic() + 60
            while not endless.token_ids:  # until the other one has begun
                assert time.monotonic() < until
                time.sleep(0.001)
            raise EngineError("no memory")

        def cancel(self):
            pass

    with pytest.raises(EngineError, match="no memory"):
        Best([endless, Fails()]).read()
    assert endless.likelihood.mean < 0


def test_grammars_are_compiled_once(assistant):
    made, _ = assistant("chatml")
    first = made.grammars.compiled(Grammar.regex("a"))
    assert made.grammars.compiled(Grammar.regex("a")) is first
    for n in range(70):
        made.grammars.compiled(Grammar.regex(f"b{n}"))
    assert made.grammars.compiled(Grammar.regex("a")) is not first  # the store is bounded


@pytest.mark.parametrize("grammar", [Grammar.regex("[0-9]{2}"), Grammar.one_of(["yes", "no"])])
@pytest.mark.parametrize("family", ["harmony", "r1", "chatml"])
def test_any_grammar_may_hold_the_answer(assistant, family, grammar):
    text, _, finished, _ = ask(assistant(family, 2), Demands(answer=grammar), max_tokens=5000)
    assert re.fullmatch("[0-9]{2}|yes|no", text)
    assert finished.reason == "stop"


def test_stop_texts_still_end_a_free_answer(assistant):
    made, _ = assistant("harmony")
    talk = as_conversation([Message(role="user", content="?")])
    *_, finished = made.answer(ChatRequest(conversation=talk, sampling={"seed": 1, "max_tokens": 3000}, stop=("e",)))
    assert finished.reason in {"stop", "length"}
