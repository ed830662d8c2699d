"""Calls come to their end, a call that was cut off is no text, and a call without its marks is a call."""

import json

import pytest

from ouvert.assistant import ChatRequest, Demands, Finished, ReasoningDelta, TextDelta, Tool, ToolCallDelta
from ouvert.assistant.messages import as_conversation
from ouvert.engine import Grammar

MINUTES = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}
TIMER = Tool(name="set_timer", parameters=MINUTES)
NOTE = Tool(name="note", parameters={"type": "object", "properties": {"text": {"type": "string"}}})
CLOCK = Tool(name="clock")
# In every syntax: one call, as models write it, and what they like to write behind it before they end their answer.
CALLS = {
    "harmony": ("<|channel|>commentary to=functions.set_timer <|constrain|>json<|message|>{}<|call|>", ""),
    "qwen3": ('<tool_call>\n{"name": "set_timer", "arguments": {}}\n</tool_call>', "\n"),
    "r1": ('Hm.</think>\n\n<tool_call>\n{"name": "set_timer", "arguments": {}}\n</tool_call>', "\n"),
    "chatml": ('<tool_call>\n{"name": "set_timer", "arguments": {}}\n</tool_call>', "\n"),
    "llama3": ('{"name": "set_timer", "parameters": {}}', ""),
    "mistral": ('[TOOL_CALLS] [{"name": "set_timer", "arguments": {}}', ""),
    "mistral-tekken": ('[TOOL_CALLS][{"name": "set_timer", "arguments": {}}', "]"),
    "mistral-v11": ("[TOOL_CALLS]set_timer[ARGS]{}", ""),
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>set_timer\n```json\n{}\n```<｜tool▁call▁end｜>",
        "\n",
    ),
    "deepseek-v3.1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>set_timer<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    "kimi": (
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.set_timer:0<|tool_call_argument_begin|>{}"
            "<|tool_call_end|>"
        ),
        "",
    ),
}
THINKS_FIRST: dict[str, str] = {}


def script_of(family, arguments='{"minutes": 10}', behind=True):
    call, after = CALLS[family]
    head, _, tail = call.rpartition("{}")
    return THINKS_FIRST.get(family, "") + head + arguments + tail + (after if behind else "")


def ask(made, demands=Demands(), *, tools=(TIMER, NOTE), stop=(), **sampling):  # noqa: B008
    """(text, calls as they streamed, Finished, everything that was written, as text)"""
    assistant, tokenizer = made
    talk = as_conversation("Set a timer for 10 minutes.", tools)
    settings = {"temperature": 0, "max_tokens": 300} | sampling
    answer = assistant.answer(ChatRequest(conversation=talk, sampling=settings, stop=tuple(stop), demands=demands))
    *deltas, finished = answer
    assert isinstance(finished, Finished)
    streamed = {}
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            name, arguments = streamed.get(delta.index, ("", ""))
            streamed[delta.index] = (name + (delta.name or ""), arguments + delta.arguments)
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    return text, list(streamed.values()), finished, tokenizer.decode(answer.token_ids, control=True)


def called(finished):
    return [(call.name, json.loads(call.arguments)) for call in finished.tool_calls]


# --- the end of a call ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("tool", [None, "set_timer"])
def test_a_call_is_over_where_the_model_wants_to_end(assistant, family, tool):
    made = assistant(family, script=script_of(family))
    text, streamed, finished, written = ask(made, Demands(calls="required", tool=tool))
    assert called(finished) == [("set_timer", {"minutes": 10})]
    assert [(name, json.loads(arguments)) for name, arguments in streamed] == called(finished)
    assert (finished.reason, text) == ("tool_calls", "")
    assert finished.usage.output <= len(made[1].ids(script_of(family))) + 1, written


def test_a_model_that_would_rather_think_on_or_answer_calls_all_the_same(assistant):
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    made = assistant("harmony", script=thought * 20)
    _, _, finished, written = ask(made, Demands(calls="required"), tools=(CLOCK,))
    assert (len(finished.tool_calls), finished.reason) == (1, "tool_calls")
    assert written.count("<|channel|>analysis") == 1


SEVERAL = [family for family in CALLS if family not in ("harmony", "llama3")]  # formats of one call an answer


@pytest.mark.parametrize("family", SEVERAL)
def test_a_required_call_may_be_several_and_a_named_one_is_one(assistant, family):
    separator = {"mistral": ", ", "mistral-tekken": ", "}.get(
        family, CALLS[family][1] if CALLS[family][1] == "\n" else ""
    )
    first = script_of(family, behind=False)
    second = script_of(family, '{"minutes": 5}').removeprefix(THINKS_FIRST.get(family, ""))
    for opening in (
        "Hm.</think>\n\n",
        "[TOOL_CALLS] [",
        "[TOOL_CALLS][",
        "<｜tool▁calls▁begin｜>",
        "<|tool_calls_section_begin|>",
    ):
        second = second.removeprefix(opening)
    script = first + separator + second.replace(":0<", ":1<")
    _, _, several, written = ask(assistant(family, script=script), Demands(calls="required"))
    assert called(several) == [("set_timer", {"minutes": 10}), ("set_timer", {"minutes": 5})], written
    _, _, one, _ = ask(assistant(family, script=script), Demands(calls="required", tool="set_timer"))
    assert called(one) == [("set_timer", {"minutes": 10})]
    assert one.reason == "tool_calls"
    assert one.usage.output < several.usage.output


# --- a call that was cut off ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", ["required", "auto"])
@pytest.mark.parametrize("family", CALLS)
def test_a_call_that_the_limit_cut_off_is_no_text(assistant, family, calls):
    script = script_of(family)
    made = assistant(family, script=script)
    for most in range(1, len(made[1].ids(script)), 2):
        text, streamed, finished, written = ask(made, Demands(calls=calls), max_tokens=most)
        if family == "llama3" and calls == "auto" and '"parameters"' not in written:
            assert text == written  # it may still be anything
            continue
        assert text == "", written
        assert all(name == "set_timer" for name, _ in streamed)
        if finished.tool_calls:  # whole, though its list may not be closed
            assert called(finished) == [("set_timer", {"minutes": 10})]


@pytest.mark.parametrize("family", ["qwen3", "mistral-v11", "deepseek-v3.1", "kimi", "llama3"])
def test_stop_texts_are_not_looked_for_in_calls(assistant, family):
    script = script_of(family)
    for stop in ("set_timer", "minutes", "<tool_call>", "[TOOL_CALLS]"):
        _, _, finished, _ = ask(assistant(family, script=script), stop=[stop])
        assert called(finished) == [("set_timer", {"minutes": 10})]
        _, _, cut, _ = ask(assistant(family, script=script), Demands(calls="required"), stop=[stop], max_tokens=12)
        assert cut.reason == "length"


# --- calls without their tags -----------------------------------------------------------------------------------------

OBJECT = '{"name": "set_timer", "arguments": {"minutes": 10}}'
WITHOUT_TAGS = (
    OBJECT,
    OBJECT.replace("arguments", "parameters"),
    f"```json\n{OBJECT}\n```",
    f"```\n{OBJECT}\n```\n",
    f" \n{OBJECT}\n",
    f"{{{OBJECT}}}",
    f"```json\n{{{OBJECT} }}\n```",
    f"[{OBJECT}]",
    f"```json\n[{OBJECT}]\n```",
    '{\n  "type": "function",\n  "function": {"name": "set_timer", "arguments": {"minutes": 10}}\n}',
    '{"arguments": "{\\"minutes\\": 10}", "name": "set_timer", "id": "call_1"}',
)
PLAIN = ("chatml", "mistral-v11", "harmony")


def speaking(family, text):
    return f"<|channel|>final<|message|>{text}<|return|>" if family == "harmony" else text


@pytest.mark.parametrize("family", PLAIN)
@pytest.mark.parametrize("written", WITHOUT_TAGS)
def test_an_answer_that_is_nothing_but_the_json_of_a_call_is_that_call(assistant, family, written):
    text, streamed, finished, _ = ask(assistant(family, script=speaking(family, written)))
    assert called(finished) == [("set_timer", {"minutes": 10})]
    assert [(name, json.loads(arguments)) for name, arguments in streamed] == called(finished)
    assert (text, finished.reason) == ("", "tool_calls")
    assert finished.receipt["ended"]["calls_without_tags"] is True


def test_a_tagged_call_may_have_its_outer_braces_doubled_as_a_shipped_template_shows_it(assistant):
    text, _, finished, _ = ask(assistant("chatml", script=f"<tool_call>\n{{{OBJECT}}}\n</tool_call>"))
    assert (called(finished), text) == ([("set_timer", {"minutes": 10})], "")


@pytest.mark.parametrize("between", [("[", ", ", "]"), ("", "\n", ""), ("", "", "\n"), ("```json\n[", ",\n", "]\n```")])
def test_several_objects_are_several_calls_and_one_where_one_is_wanted(assistant, between):
    opening, comma, closing = between
    script = opening + OBJECT + comma + '{"name": "note", "arguments": {"text": "a]"}}' + closing
    both = [("set_timer", {"minutes": 10}), ("note", {"text": "a]"})]
    _, streamed, finished, _ = ask(assistant("chatml", script=script))
    assert called(finished) == both
    assert [name for name, _ in streamed] == ["set_timer", "note"]
    _, streamed, one, _ = ask(assistant("chatml", script=script), Demands(one_call=True))
    assert called(one) == both[:1]
    assert [name for name, _ in streamed] == ["set_timer"]


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "unknown", "arguments": {}}',
        '{"name": "set_timer", "arguments": {"minutes": "ten"}}',
        '{"name": "set_timer", "arguments": {}}',
        '{"name": "clock", "arguments": {"zone": 1}}',
        '{"name": "set_timer", "arguments": [10]}',
        '{"name": "set_timer"}',
        '{"name": "Ada", "age": 36}',
        '{"name": "set_timer", "arguments": {"minutes": 10}, "parameters": {"minutes": 10}}',
        f"Sure: {OBJECT}",
        f"{OBJECT} I set it.",
        f"{{{OBJECT}}} I set it.",
        f"{{{{{OBJECT}}}}}",
        f"{OBJECT}}}",
        f"```json\n{OBJECT}\n```\nThat sets it.",
        f"```python\n{OBJECT}\n```",
        f"[{OBJECT},]",
        f"[{OBJECT}",
        "[]",
        '{"name": "set_timer" is what you would write',
        "```json\n```",
        "{",
    ],
)
@pytest.mark.parametrize("family", PLAIN)
def test_everything_else_stays_text_to_the_letter(assistant, family, written):
    text, streamed, finished, _ = ask(assistant(family, script=speaking(family, written)), tools=(TIMER, NOTE, CLOCK))
    assert (text, streamed, finished.tool_calls, finished.reason) == (written, [], (), "stop")
    assert "calls_without_tags" not in finished.receipt["ended"]


def test_where_no_call_may_come_or_the_answer_has_a_form_of_its_own_it_is_text(assistant):
    for demands in (Demands(calls="none"), Demands(answer=Grammar.json_object())):
        family = "mistral-v11" if demands.answer else "chatml"
        text, _, finished, _ = ask(assistant(family, script=OBJECT), demands)
        assert (text, finished.tool_calls) == (OBJECT, ())
    text, _, finished, _ = ask(assistant("chatml", script=OBJECT), tools=())
    assert (text, finished.tool_calls) == (OBJECT, ())


@pytest.mark.parametrize(
    ("script", "decided"),
    [("It is noon.", 1), ('{"name": "Ada", "age": 36}', 11), ('{"a": "name"}', 4), ("``x `", 3), ("```jq ok", 5)],
)
def test_text_streams_as_soon_as_it_cannot_be_a_call_any_more(assistant, script, decided):
    """`decided`: with which character, which is a token here, it is clear."""
    made, _ = assistant("chatml", script=script)
    answer = made.answer(ChatRequest(conversation=as_conversation("?", (TIMER,)), sampling={"temperature": 0}))
    texts = [(event.text, len(answer.token_ids)) for event in answer if isinstance(event, TextDelta)]
    assert texts[0] == (script[:decided], decided)
    assert "".join(text for text, _ in texts) == script
    assert len(texts) > (len(script) - decided) / 2


def test_stop_texts_are_not_looked_for_in_calls_without_tags_but_in_what_was_no_call(assistant):
    _, _, finished, _ = ask(assistant("chatml", script=OBJECT), stop=["minutes"])
    assert called(finished) == [("set_timer", {"minutes": 10})]
    text, _, finished, _ = ask(assistant("chatml", script=OBJECT + " There."), stop=["minutes"])
    assert (text, finished.reason, finished.tool_calls) == ('{"name": "set_timer", "arguments": {"', "stop", ())


def test_a_call_without_tags_that_was_cut_off_is_no_text_once_it_is_clear_that_it_is_one(assistant):
    for most in range(1, len(OBJECT), 3):
        text, _, finished, written = ask(assistant("chatml", script=OBJECT), max_tokens=most)
        assert finished.tool_calls == ()
        assert finished.reason == "length"
        assert text == ("" if '"arguments"' in written else written)


def test_thoughts_may_stand_before_a_call_without_tags(assistant):
    talk = as_conversation("?", (TIMER,))
    *deltas, finished = assistant("qwen3", script=f"<think>Hm.</think>\n\n{OBJECT}")[0].answer(
        ChatRequest(conversation=talk, sampling={"temperature": 0})
    )
    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "Hm."
    assert called(finished) == [("set_timer", {"minutes": 10})]
