"""Which tokens are trained: what the model would write, of what counts, and never what the prompt supplies."""

import datetime
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import Message, Tool, ToolCall
from ouvert.tuning.spans import Rules, answered, conversation_before, masked, next_thought
from ouvert.tuning.talk import RowError, Talk, ordered

FAMILIES = ("chatml", "qwen3", "llama3", "mistral", "deepseek", "kimi", "kimi-thinking", "harmony")
AS_GIVEN = Rules(trained="assistant", reasoning="as given", length=4096, cuts=False, date=datetime.date(2026, 11, 5))
FUNCTION = Tool(name="f", parameters={"type": "object", "properties": {"a": {"type": "string"}}})
words = st.text(st.sampled_from('ab é🙂\n<>{}%"/'), min_size=1, max_size=8)
said = words.filter(lambda text: text.strip() == text and text[0] not in "{<")


def user(text):
    return Message(role="user", content=text)


def assistant(text, **more):
    return Message(role="assistant", content=text, **more)


def talk(*messages, weights=None, **more):
    return replace(ordered(messages, weights or [None] * len(messages)), **more)


def trained_text(tokenizer, example):
    return tokenizer.decode(
        [token for token, w in zip(example.ids.tolist(), example.trained, strict=True) if w], control=True
    )


def pieces(tokenizer, example):
    """The example's text with what is trained in double brackets."""
    text, inside = "", False
    for token, weight in zip(example.ids.tolist(), example.trained, strict=True):
        if bool(weight) != inside:
            text, inside = text + ("[[" if weight else "]]"), bool(weight)
        text += tokenizer.decode([token], control=True)
    return text + ("]]" if inside else "")


@st.composite
def conversations(draw):
    messages = [Message(role="system", content=draw(words))] if draw(st.booleans()) else []
    for n in range(draw(st.integers(1, 3))):
        messages.append(user(draw(words)))
        if draw(st.booleans()):
            call = ToolCall(f"call_{n}", "f", '{"a": "b"}')
            messages.append(assistant("", tool_calls=(call,)))
            messages.append(Message(role="tool", content=draw(words), tool_call_id=call.id, name="f"))
        messages.append(assistant(draw(said)))
    tools = (FUNCTION,) if any(message.tool_calls for message in messages) or draw(st.booleans()) else ()
    return talk(*messages, tools=tools)


def faults(made, given_talk, tokenizer, chat, rules):
    """What is wrong with the examples of a talk of which every answer in `made.turns` counts."""
    found, remaining = [], list(made.turns)
    for example in made.examples:
        ids, counted = example.ids.tolist(), example.trained.tolist()
        at = 0
        while remaining and ids[: remaining[0].length] == list(remaining[0].prompt.ids + remaining[0].answer.ids):
            turn = remaining.pop(0)
            served = chat.render(conversation_before(given_talk, turn.message, rules, {})).ids
            start, said_text = len(served), given_talk.messages[turn.message].content
            checks = {
                "the prompt is the server's": tuple(ids[:start]) == served,
                "nothing that the prompt supplies is trained": not any(counted[at:start]),
                "all that the model writes is trained": all(counted[start : turn.length]),
                "it learns to stop": ids[turn.length - 1] in chat.stop_ids and counted[turn.length - 1] > 0,
                "it learns what was said": said_text in tokenizer.decode(ids[start : turn.length]),
            }
            found += [name for name, holds in checks.items() if not holds]
            at = turn.length
        if at != len(ids):
            found.append("something stands behind the last answer")
    return found + ["an answer is missing"] * bool(remaining)


@pytest.mark.parametrize(
    ("planted", "noticed"),
    [
        (lambda trained, start: trained[start - 1 : start].fill(1), "nothing that the prompt supplies is trained"),
        (lambda trained, start: trained[-1:].fill(0), "it learns to stop"),
        (lambda trained, start: trained[start : start + 1].fill(0), "all that the model writes is trained"),
    ],
)
def test_a_planted_fault_is_noticed(tokenizer_of, chat_of, planted, noticed):
    tokenizer, chat, given_talk = tokenizer_of("qwen3"), chat_of("qwen3"), talk(user("A"), assistant("B"))
    made = masked(given_talk, 1, chat, AS_GIVEN)
    assert faults(made, given_talk, tokenizer, chat, AS_GIVEN) == []
    planted(made.examples[0].trained, len(made.turns[0].prompt.ids))
    assert noticed in faults(made, given_talk, tokenizer, chat, AS_GIVEN)


def test_a_prompt_of_another_day_is_noticed(tokenizer_of, chat_of):
    tokenizer, chat, given_talk = tokenizer_of("harmony"), chat_of("harmony"), talk(user("A"), assistant("B"))
    made = masked(given_talk, 1, chat, replace(AS_GIVEN, date=datetime.date(2026, 11, 6)))
    assert "the prompt is the server's" in faults(made, given_talk, tokenizer, chat, AS_GIVEN)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), trained=st.sampled_from(["assistant", "last"]))
def test_every_answer_is_trained_behind_the_prompt_of_the_server(tokenizer_of, chat_of, family, data, trained):
    tokenizer, chat = tokenizer_of(family), chat_of(family)
    given_talk = data.draw(conversations())
    rules = replace(AS_GIVEN, trained=trained)
    made = masked(given_talk, 3, chat, rules)
    places = [n for n, message in enumerate(given_talk.messages) if message.role == "assistant"]
    assert [turn.message for turn in made.turns] == (places if trained == "assistant" else places[-1:])
    assert [each.line for each in made.examples] == [3] * len(made.examples)
    assert faults(made, given_talk, tokenizer, chat, rules) == []


CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n[[{}<|im_end|>]]"
DEEPSEEK_BEGINS = "<｜begin▁of▁sentence｜><｜User｜>A<｜Assistant｜>"
DEEPSEEK_ANSWER = "<think>\n[[\n</think>\n\n{}<｜end▁of▁sentence｜>]]"
DEEPSEEK_PAST = "B<｜end▁of▁sentence｜><｜User｜>C<｜Assistant｜>"
TWO_TURNS = {
    "chatml": [CHATML.format("A", "B") + "\n" + CHATML.format("C", "D")],
    "mistral": ["<s>[INST]A[/INST][[B</s>]][INST]C[/INST][[D</s>]]"],
    "deepseek": [
        DEEPSEEK_BEGINS + DEEPSEEK_ANSWER.format("B"),
        DEEPSEEK_BEGINS + DEEPSEEK_PAST + DEEPSEEK_ANSWER.format("D"),
    ],
}


@pytest.mark.parametrize(("family", "expected"), TWO_TURNS.items())
def test_several_turns_are_one_sequence_where_the_format_writes_them_alike(tokenizer_of, chat_of, family, expected):
    made = masked(talk(user("A"), assistant("B"), user("C"), assistant("D")), 1, chat_of(family), AS_GIVEN)
    assert [pieces(tokenizer_of(family), each) for each in made.examples] == expected
    assert made.apart == len(expected) - 1


def test_harmony_trains_each_answer_as_it_is_written_and_not_as_it_is_remembered(tokenizer_of, chat_of):
    given_talk = talk(user("A"), assistant("B", reasoning="b"), user("C"), assistant("D", reasoning="d"))
    made = masked(given_talk, 1, chat_of("harmony"), AS_GIVEN)
    first, second = (pieces(tokenizer_of("harmony"), each) for each in made.examples)
    answer = "[[<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>]]"
    assert first.endswith("<|message|>A<|end|><|start|>assistant" + answer.format("b", "B"))
    assert "<|channel|>final<|message|>B<|end|><|start|>user<|message|>C<|end|>" in second
    assert second.endswith("<|start|>assistant" + answer.format("d", "D"))
    assert "analysis<|message|>b" not in second


def test_reasoning_none_asks_for_no_thought_where_the_format_can(tokenizer_of, small_chat):
    from ouvert.chat.template import TemplateFormat

    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    )
    chat = TemplateFormat(tokenizer_of("qwen3"), template)
    given_talk = talk(user("A"), assistant("B", reasoning="b"))
    without = masked(given_talk, 1, chat, replace(AS_GIVEN, reasoning="none"))
    assert pieces(tokenizer_of("qwen3"), without.examples[0]).endswith(
        "assistant\n<think>\n\n</think>\n\n[[B<|im_end|>]]"
    )
    as_given = masked(given_talk, 1, chat, AS_GIVEN)
    assert pieces(tokenizer_of("qwen3"), as_given.examples[0]).endswith(
        "assistant\n[[<think>\nb\n</think>\n\nB<|im_end|>]]"
    )


def test_what_the_model_thinks_by_itself_is_kept_and_not_trained(tokenizer_of, chat_of):
    chat, rules = chat_of("harmony"), replace(AS_GIVEN, reasoning="keep")
    given_talk = talk(user("A"), assistant("B"), user("C"), assistant("D", reasoning="d"))
    place, asked = next_thought(given_talk, chat, rules, {})
    assert (place, [m.content for m in asked.messages]) == (1, ["A"])
    assert next_thought(given_talk, chat, rules, {1: "hm"}) is None  # the second has thoughts of its own
    first, second = masked(given_talk, 1, chat, rules, {1: "hm"}).examples
    assert pieces(tokenizer_of("harmony"), first).endswith(
        "<|start|>assistant<|channel|>analysis<|message|>hm<|end|>[[<|start|>assistant<|channel|>final<|message|>B<|return|>]]"
    )
    assert pieces(tokenizer_of("harmony"), second).endswith("[[<|channel|>analysis<|message|>d<|end|><|start|>assistant"
                                                            "<|channel|>final<|message|>D<|return|>]]")  # fmt: skip
    unthought = masked(given_talk, 1, chat, rules)
    assert [turn.unthought for turn in unthought.turns] == [True, False]


def test_weights_decide_which_turns_count(tokenizer_of, chat_of):
    messages = (user("A"), assistant("B"), user("C"), assistant("D"))
    tokenizer, chat = tokenizer_of("chatml"), chat_of("chatml")
    [example] = masked(talk(*messages, weights=[None, 0.0, None, None]), 1, chat, AS_GIVEN).examples
    assert trained_text(tokenizer, example) == "D<|im_end|>"
    [example] = masked(talk(*messages, weights=[None, None, None, 0.0]), 1, chat, AS_GIVEN).examples
    assert trained_text(tokenizer, example) == "B<|im_end|>"
    assert "C" not in tokenizer.decode(example.ids.tolist())
    [example] = masked(talk(*messages, weights=[None, 0.5, None, 1.0]), 1, chat, AS_GIVEN).examples
    assert set(example.trained.tolist()) == {0.0, 0.5, 1.0}


def test_all_trains_what_others_say_but_not_what_has_no_weight(tokenizer_of, chat_of):
    tokenizer, chat = tokenizer_of("chatml"), chat_of("chatml")
    rules = replace(AS_GIVEN, trained="all")
    messages = (user("A"), assistant("B"), user("C"), assistant("D"))
    [example] = masked(talk(*messages, weights=[None, None, 0.0, None]), 1, chat, rules).examples
    text = trained_text(tokenizer, example)
    assert all(each in text for each in ("A", "B<|im_end|>", "D<|im_end|>"))
    assert "C" not in text
    assert example.trained[0] == 0


def test_nothing_trained_is_an_error(chat_of):
    with pytest.raises(RowError, match="nothing of it is trained"):
        masked(talk(user("A"), assistant("B"), weights=[None, 0.0]), 1, chat_of("chatml"), AS_GIVEN)


def test_what_others_say_is_trained_only_where_all_is(chat_of):
    given_talk = talk(user("A"), assistant("B"), weights=[1.0, None])
    with pytest.raises(RowError, match="does not write it"):
        masked(given_talk, 1, chat_of("chatml"), AS_GIVEN)


def test_what_is_too_long_is_refused_or_cut_at_a_message(tokenizer_of, chat_of):
    tokenizer, chat = tokenizer_of("chatml"), chat_of("chatml")
    long = talk(user("A"), assistant("B"), user("C" * 50), assistant("D"))
    rules = replace(AS_GIVEN, length=60)
    with pytest.raises(RowError, match="tokens, more than length = 60"):
        masked(long, 1, chat, rules)
    made = masked(long, 1, chat, replace(rules, cuts=True))
    assert [pieces(tokenizer, each) for each in made.examples] == [
        "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[[B<|im_end|>]]"
    ]
    assert made.cut == 1
    assert masked(talk(user("A" * 90), assistant("B")), 1, chat, replace(rules, cuts=True)).examples == ()


def test_two_answers_share_their_prompt(tokenizer_of, chat_of):
    prompt = Talk(messages=(user("A"),), weights=(None,))
    (chosen, _), (rejected, _) = answered(prompt, [assistant("B"), assistant("C")], 1, chat_of("chatml"), AS_GIVEN)
    assert [trained_text(tokenizer_of("chatml"), each) for each in (chosen, rejected)] == ["B<|im_end|>", "C<|im_end|>"]
    assert chosen.ids[:-2].tolist() == rejected.ids[:-2].tolist()


def test_thoughts_for_a_model_without_any_say_what_to_do(chat_of):
    with pytest.raises(RowError, match=r"no place for any.*reasoning = 'none'"):
        masked(talk(user("A"), assistant("B", reasoning="b")), 1, chat_of("chatml"), AS_GIVEN)


def test_what_the_format_does_not_write_is_named(chat_of):
    call = ToolCall("call_1", "f", '{"a": "b"}')
    given_talk = talk(user("A"), assistant("Let me see.", tool_calls=(call,)), tools=(FUNCTION,))
    assert [turn.lost for turn in masked(given_talk, 1, chat_of("mistral"), AS_GIVEN).turns] == ["words beside calls"]
    assert [turn.lost for turn in masked(given_talk, 1, chat_of("chatml"), AS_GIVEN).turns] == [None]
