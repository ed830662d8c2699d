"""DeepSeek's and Kimi's own templates, in what matters of them: how they show calls, thoughts and the switch."""

import pytest

from ouvert.chat import Conversation, Message, Tool, ToolCall, builtin_template, format_for
from ouvert.chat.template import TemplateFormat

# As the makers' do: arguments are joined to text, tools are declared nowhere, old thoughts are cut off.
V31 = """{{ bos_token }}{% if not thinking is defined %}{% set thinking = false %}{% endif %}
{%- for m in messages %}{% if m['role'] == 'user' %}<｜User｜>{{ m['content'] }}
{%- elif m['role'] == 'assistant' %}<｜Assistant｜></think>
{%- if m['content'] is not none %}{{ m['content'] }}{% endif %}
{%- for call in m['tool_calls'] %}
{{- '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + call['function']['name'] +
'<｜tool▁sep｜>' + call['function']['arguments'] + '<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}
{%- endfor %}{{ eos_token }}
{%- elif m['role'] == 'tool' %}<｜tool▁output▁begin｜>{{ m['content'] }}<｜tool▁output▁end｜>
{%- endif %}
{%- endfor %}
{%- if messages[-1]['role'] == 'user' %}<｜Assistant｜>{{ '<think>' if thinking else '</think>' }}{% endif %}"""
R1 = V31.replace(
    "call['function']['name'] +\n'<｜tool▁sep｜>'", "'function<｜tool▁sep｜>' + call['function']['name'] +\n'```json'"
)
# As Kimi K2 Thinking's: thoughts stay behind the last answer that called nothing.
K2_THINKING = """{% set ns = namespace(last=-1) %}{% for m in messages %}
{%- if m.role == 'assistant' and not m.get('tool_calls') %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- if tools %}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{% endif %}
{%- for m in messages %}{% if m.role == 'assistant' %}<|im_assistant|>assistant<|im_middle|><think>
{{- m.get('reasoning_content', '') if loop.index0 > ns.last }}</think>{{ m.get('content') or '' }}
{%- for call in m.get('tool_calls', []) %}{% if loop.first %}<|tool_calls_section_begin|>{% endif %}<|tool_call_begin|>
{{- call.id }}<|tool_call_argument_begin|>{{ call.function.arguments if call.function.arguments is string else
call.function.arguments | tojson }}<|tool_call_end|>{% if loop.last %}<|tool_calls_section_end|>{% endif %}{% endfor %}
{%- else %}<|im_{{ 'user' if m.role == 'user' else 'system' }}|>{{ m.name or m.role }}<|im_middle|>
{{- m.content }}{% endif %}{{- '<|im_end|>' }}{% endfor %}<|im_assistant|>assistant<|im_middle|>"""

USER = Message(role="user", content="Oslo?")
CALL = ToolCall("functions.weather:0", "weather", '{"city": "Oslo",  "n": 3}')
CALLING = Message(role="assistant", tool_calls=(CALL,), reasoning="I look it up.")
RESULT = Message(role="tool", tool_call_id=CALL.id, content="cold")
ANSWER = Message(role="assistant", content="Cold.", reasoning="It says cold.")
TOOL = Tool(name="weather", description="The sky", parameters={"type": "object", "properties": {"city": {}}})


def text_of(chat, *messages, **asks):
    return chat.render(Conversation(messages=messages, **asks)).text


def parsed(chat, tokenizer, conversation, written):
    parser = chat.parser(chat.render(conversation))
    deltas = [delta for token in tokenizer.ids(written) for delta in parser.push(token)]
    return [*deltas, *parser.finish("stop")]


def test_thinking_is_a_switch(tokenizer_of):
    chat = format_for(tokenizer_of("deepseek"), V31)
    assert chat.abilities.optional
    assert text_of(chat, USER).endswith("<｜Assistant｜></think>")
    assert text_of(chat, USER, thinking=False).endswith("<｜Assistant｜></think>")
    on = chat.render(Conversation(messages=(USER,), thinking=True))
    assert on.text.endswith("<｜Assistant｜><think>")
    assert on.thinking
    assert not chat.render(Conversation(messages=(USER,))).thinking


def test_calls_whose_template_joins_arguments_to_text_are_shown_as_the_model_wrote_them(tokenizer_of):
    chat = format_for(tokenizer_of("deepseek"), V31)
    shown = text_of(chat, USER, CALLING, RESULT)
    assert 'weather<｜tool▁sep｜>{"city": "Oslo",  "n": 3}<｜tool▁call▁end｜>' in shown
    assert shown.endswith("<｜tool▁output▁begin｜>cold<｜tool▁output▁end｜>")
    as_object = V31.replace("+ call['function']['arguments'] +", "~ call['function']['arguments'] | tojson ~")
    assert '{"city": "Oslo", "n": 3}' in text_of(format_for(tokenizer_of("deepseek"), as_object), USER, CALLING, RESULT)


@pytest.mark.parametrize(("template", "ours"), [(V31, "deepseek31"), (R1, "deepseek")])
def test_tools_that_the_makers_template_declares_nowhere_are_declared_by_ours(tokenizer_of, template, ours):
    chat = format_for(tokenizer_of("deepseek"), template)
    assert chat.abilities.tools
    with_tools = Conversation(messages=(USER,), tools=(TOOL,))
    assert chat.for_conversation(with_tools).name == f"builtin {ours}"
    assert "The sky" in text_of(chat, USER, tools=(TOOL,))
    assert chat.for_conversation(Conversation(messages=(USER,))).name == "template"
    chosen = format_for(tokenizer_of("deepseek"), template, chosen="default")
    assert not chosen.abilities.tools, "who names the template means it"


@pytest.mark.parametrize("thinking", [True, False, None])
def test_ours_for_v31_writes_the_loop_as_the_makers_does(tokenizer_of, thinking):
    tokenizer = tokenizer_of("deepseek")
    ours, theirs = (TemplateFormat(tokenizer, text) for text in (builtin_template("deepseek31"), V31))
    call = Message(role="assistant", tool_calls=(ToolCall("1", "weather", '{"city": "Oslo"}'),), reasoning="Hm.")
    for messages in ((USER,), (USER, ANSWER, USER), (USER, ANSWER, USER, call, RESULT)):
        talk = tuple(Message(role="tool", content="x", tool_call_id="1") if m is RESULT else m for m in messages)
        assert text_of(ours, *talk, thinking=thinking) == text_of(theirs, *talk, thinking=thinking)


def test_v31s_calls_are_read_with_and_without_thoughts(tokenizer_of):
    tokenizer = tokenizer_of("deepseek")
    chat = format_for(tokenizer, V31)
    calls = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    for thinking, thoughts in ((True, "I think.</think>"), (False, "")):
        talk = Conversation(messages=(USER,), tools=(TOOL,), thinking=thinking)
        found = chat.for_conversation(talk)
        deltas = parsed(found, tokenizer, talk, thoughts + calls)
        assert [delta.name for delta in deltas if hasattr(delta, "name") and delta.name] == ["weather"]
        assert ("I think." in "".join(getattr(delta, "text", "") for delta in deltas)) == thinking


def test_kimi_keeps_the_thoughts_of_an_open_loop_and_drops_those_behind_an_answer(tokenizer_of):
    chat = TemplateFormat(tokenizer_of("kimi-thinking"), K2_THINKING)
    assert "<think>I look it up.</think><|tool_calls_section_begin|>" in text_of(
        chat, USER, CALLING, RESULT, tools=(TOOL,)
    )
    closed = text_of(chat, USER, CALLING, RESULT, ANSWER, USER, tools=(TOOL,))
    assert "I look it up." not in closed
    assert "It says cold." not in closed
    again = text_of(chat, USER, ANSWER, USER, CALLING, RESULT, tools=(TOOL,))
    assert again.count("I look it up.") == 1
    assert "It says cold." not in again
