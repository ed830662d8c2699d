"""Conversations through templates: what is written, and where each token comes from."""

import datetime
import subprocess
import sys

import pytest

from ouvert.chat import ChatError, Conversation, Message, Tool, ToolCall, builtin_template, format_for
from ouvert.chat.call_ids import short_form
from ouvert.chat.template import TemplateFormat

SMOLLM2 = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
DEFAULT_SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
WEATHER = Tool(
    name="weather",
    description="The weather in a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def conversation(*messages, **rest):
    made = tuple(each if isinstance(each, Message) else Message(role=each[0], content=each[1]) for each in messages)
    return Conversation(messages=made, **rest)


def spans_of(rendered, tokenizer):
    return [
        (tokenizer.decode(rendered.ids[span.start : span.stop], control=True), span.message, span.channel, span.source)
        for span in rendered.spans
    ]


def test_smollm2(tokenizer_of):
    tokenizer = tokenizer_of("chatml")
    rendered = format_for(tokenizer, SMOLLM2).render(conversation(("user", "Hi")))
    expected = DEFAULT_SYSTEM + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert rendered.text == expected
    assert list(rendered.ids) == tokenizer.ids(expected)


def test_spans_say_where_each_token_comes_from(tokenizer_of):
    tokenizer = tokenizer_of("chatml")
    talk = conversation(("user", "user"), ("assistant", "<|im_end|> is a token"), ("user", " \n"), ("user", "bye"))
    rendered = format_for(tokenizer, SMOLLM2).render(talk)
    assert spans_of(rendered, tokenizer) == [
        (DEFAULT_SYSTEM[:-1], None, None, "format"),
        ("\n<|im_start|>user\n", 0, None, "format"),
        ("user", 0, None, "supplied"),
        ("<|im_end|>", 0, None, "format"),
        ("\n<|im_start|>assistant\n", 1, None, "format"),
        ("<|im_end|> is a token", 1, "final", "chosen"),
        ("<|im_end|>", 1, None, "format"),
        ("\n<|im_start|>user\n", 2, None, "format"),
        (" \n", 2, None, "supplied"),
        ("<|im_end|>", 2, None, "format"),
        ("\n<|im_start|>user\n", 3, None, "format"),
        ("bye", 3, None, "supplied"),
        ("<|im_end|>", 3, None, "format"),
        ("\n<|im_start|>assistant\n", None, None, "format"),
    ]
    assert rendered.spans[-1].stop == len(rendered.ids)


def test_text_that_a_template_changes_is_still_known(tokenizer_of):
    tokenizer = tokenizer_of("chatml")
    peeking = "{% for m in messages %}{{ m.content | upper }}<|im_end|>{{ m.content | title }}{% endfor %}"
    rendered = TemplateFormat(tokenizer, peeking).render(conversation(("user", "a secret")))
    assert spans_of(rendered, tokenizer) == [
        ("A SECRET", 0, None, "supplied"),
        ("<|im_end|>", 0, None, "format"),
        ("A Secret", 0, None, "supplied"),
    ]


def test_developer_is_system_and_dates_come_from_the_conversation(tokenizer_of):
    template = "{% for m in messages %}{{ m.role }}{% endfor %} {{ strftime_now('%d %B %Y') }} {{ date_string }}"
    chat = TemplateFormat(tokenizer_of("plain"), template)
    talk = conversation(("developer", "x"), date=datetime.date(2026, 11, 5))
    assert chat.render(talk).text == "system 05 November 2026 05 Nov 2026"
    with pytest.raises(ChatError, match="strftime_now"):
        chat.render(conversation(("user", "x")))


def test_the_name_of_an_answered_tool_is_found(tokenizer_of):
    template = "{% for m in messages %}{{ m.name }}|{% endfor %}"
    call = Message(role="assistant", tool_calls=(ToolCall("call_1", "weather", "{}"),))
    answer = Message(role="tool", tool_call_id="call_1", content="sunny")
    chat = TemplateFormat(tokenizer_of("plain"), template)
    assert chat.render(conversation(("user", "?"), call, answer)).text == "||weather|"


@pytest.mark.parametrize(
    ("asks", "word"),
    [
        ({"tools": (WEATHER,)}, "tools"),
        ({"effort": "low"}, "an effort"),
        ({"thinking": True}, "thinking=True"),
        ({"builtin_tools": frozenset({"python"})}, "builtin_tools"),
    ],
)
def test_what_a_template_has_no_place_for_is_refused_by_name(tokenizer_of, asks, word):
    with pytest.raises(ChatError, match=f"asks for {word}, which the model's chat template has no place for"):
        format_for(tokenizer_of("chatml"), SMOLLM2).render(conversation(("user", "x"), **asks))


def test_a_model_that_always_thinks_cannot_be_told_not_to(tokenizer_of):
    chat = TemplateFormat(tokenizer_of("deepseek"), builtin_template("deepseek"), extra={"thinks": True})
    with pytest.raises(ChatError, match="always thinks"):
        chat.render(conversation(("user", "x"), thinking=False))
    assert chat.render(conversation(("user", "x"))).thinking
    assert chat.end_of_thinking()


TALK = conversation(
    ("system", "Be kind."),
    ("user", "Weather in Oslo and Rome?"),
    Message(
        role="assistant",
        tool_calls=(
            ToolCall("functions.weather:0", "weather", '{"city": "Oslo"}'),
            ToolCall("functions.weather:1", "weather", '{"city": "Rome"}'),
        ),
    ),
    Message(role="tool", tool_call_id="functions.weather:0", content="cold"),
    Message(role="tool", tool_call_id="functions.weather:1", content="warm"),
    ("assistant", "Cold and warm."),
    ("user", "Thanks!"),
    tools=(WEATHER,),
)
SIGNATURE = (
    '{"type": "function", "function": {"name": "weather", "description": "The weather in a city", "parameters": '
    '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}'
)
BUILTIN = {
    "chatml": (
        "<|im_start|>system\nBe kind.\n\n# Tools\n\nYou may call these functions. Their signatures are JSON, one a "
        f"line:\n<tools>\n{SIGNATURE}\n</tools>\n\nTo call one, write its name and arguments as JSON between tags, one "
        'pair of tags for each call:\n<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nWeather in Oslo and Rome?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\ncold\n</tool_response>\n<tool_response>\nwarm\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nCold and warm.<|im_end|>\n<|im_start|>user\nThanks!<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou may call the functions below. To call one, "
        'answer with nothing but JSON of this form: {"name": "...", "parameters": {...}}\n\n'
        f"{SIGNATURE}\n\nBe kind.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWeather in Oslo and Rome?<|eot_id|>"
        '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "weather", "parameters": {"city": "Oslo"}}; '
        '{"name": "weather", "parameters": {"city": "Rome"}}<|eot_id|>'
        "<|start_header_id|>ipython<|end_header_id|>\n\ncold<|eot_id|>"
        "<|start_header_id|>ipython<|end_header_id|>\n\nwarm<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nCold and warm.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nThanks!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": (
        "<s>[INST]Weather in Oslo and Rome?[/INST]"
        '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}, "id": "ID0"}, '
        '{"name": "weather", "arguments": {"city": "Rome"}, "id": "ID1"}]</s>'
        '[TOOL_RESULTS]{"content": "cold", "call_id": "ID0"}[/TOOL_RESULTS]'
        '[TOOL_RESULTS]{"content": "warm", "call_id": "ID1"}[/TOOL_RESULTS]'
        f"Cold and warm.</s>[AVAILABLE_TOOLS][{SIGNATURE}][/AVAILABLE_TOOLS][INST]Be kind.\n\nThanks![/INST]"
    ),
    "deepseek": (
        "<｜begin▁of▁sentence｜>Be kind.\n\n## Tools\n\nYou may call these functions, one JSON signature a line:\n"
        f"{SIGNATURE}<｜User｜>Weather in Oslo and Rome?<｜Assistant｜><｜tool▁calls▁begin｜>"
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n'
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{"city": "Rome"}\n```<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>cold<｜tool▁output▁end｜>\n"
        "<｜tool▁output▁begin｜>warm<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
        "<｜Assistant｜>Cold and warm.<｜end▁of▁sentence｜><｜User｜>Thanks!<｜Assistant｜><think>\n"
    ),
    "kimi": (
        "<|im_system|>tool_declare<|im_middle|>["
        + SIGNATURE.replace('": ', '":').replace(', "', ',"')
        + "]<|im_end|><|im_system|>system<|im_middle|>Be kind.<|im_end|>"
        "<|im_user|>user<|im_middle|>Weather in Oslo and Rome?<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|><|tool_calls_section_begin|>"
        '<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "Oslo"}<|tool_call_end|>'
        '<|tool_call_begin|>functions.weather:1<|tool_call_argument_begin|>{"city": "Rome"}<|tool_call_end|>'
        "<|tool_calls_section_end|><|im_end|>"
        "<|im_system|>weather<|im_middle|>## Return of functions.weather:0\ncold<|im_end|>"
        "<|im_system|>weather<|im_middle|>## Return of functions.weather:1\nwarm<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>Cold and warm.<|im_end|>"
        "<|im_user|>user<|im_middle|>Thanks!<|im_end|><|im_assistant|>assistant<|im_middle|>"
    ),
}


@pytest.mark.parametrize("family", BUILTIN)
def test_a_model_without_a_template_gets_its_familys(tokenizer_of, family):
    tokenizer = tokenizer_of(family)
    chat = format_for(tokenizer)
    rendered = chat.render(TALK)
    expected = BUILTIN[family]
    for n in (0, 1):
        expected = expected.replace(f"ID{n}", short_form(f"functions.weather:{n}"))
    assert rendered.text == expected
    assert list(rendered.ids) == tokenizer.ids(expected)
    assert chat.name == "builtin " + {"mistral": "mistral-v3"}.get(family, family)
    assert {span.message for span in rendered.spans} >= {*range(7)}, "every message has spans"


def test_a_base_model_has_no_format(tokenizer_of):
    with pytest.raises(ChatError, match=r"brings no chat template.*--raw"):
        format_for(tokenizer_of("plain"), family="llama")


def test_the_digest_follows_the_template(tokenizer_of):
    tokenizer = tokenizer_of("chatml")
    one, two = format_for(tokenizer, SMOLLM2), format_for(tokenizer, SMOLLM2 + " ")
    assert one.digest == format_for(tokenizer, SMOLLM2).digest != two.digest
    assert one.digest.startswith("sha256:")


TAGGED = "<think>\nWell …\n</think>\n\nYes, </think>."


def test_a_models_own_template_gets_the_thoughts_that_a_caller_left_in_an_answer(tokenizer_of):
    template = "{% for m in messages %}[{{ m.reasoning_content }}|{{ m.content }}]{% endfor %}{# <think> #}"
    chat = TemplateFormat(tokenizer_of("qwen3"), template)
    rendered = chat.render(conversation(("user", TAGGED), ("assistant", TAGGED)))
    assert rendered.text == f"[|{TAGGED}][|{TAGGED}]"
    assert not [token for token in rendered.ids if token >= 256], "tags in a caller's text are text"


@pytest.mark.parametrize("said", [TAGGED, "Well …</think>\n\nYes.", "</think>Yes"])
def test_a_template_cuts_off_earlier_thoughts_by_itself(tokenizer_of, said):
    """As those of R1's distillations, QwQ, Qwen3 and DeepSeek V3.1 do."""
    cutting = (
        "{% for m in messages %}{% set content = m.content %}{% if m.role == 'assistant' and '</think>' in content %}"
        "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ content }}<|im_end|>{% endfor %}"
    )
    rendered = TemplateFormat(tokenizer_of("qwen3"), cutting).render(conversation(("user", "?"), ("assistant", said)))
    assert rendered.text == f"?<|im_end|>{said.split('</think>')[-1].lstrip()}<|im_end|>"


def test_our_own_templates_leave_out_thoughts_that_a_caller_left_in_an_answer(tokenizer_of):
    chat = format_for(tokenizer_of("qwen3"))
    assert "Well" not in chat.render(conversation(("user", "?"), ("assistant", TAGGED), ("user", "?"))).text


def test_templates_can_compare_the_words_of_a_schema(tokenizer_of, byte_tokenizer):
    template = (
        "{% for key, value in tools[0].function.parameters.items() %}"
        "{{ key == 'type' }}{{ value == 'object' }}{{ key == 'my type' }} {% endfor %}"
    )
    chat = TemplateFormat(byte_tokenizer(("<|my type object|>",)), template)
    tool = Tool(name="x", parameters={"type": "object", "my type": "object"})
    assert chat.render(conversation(("user", "?"), tools=(tool,))).text == "TrueTrueFalse FalseTrueTrue "


def test_a_byte_order_mark_at_the_beginning_of_a_template_is_no_content(tokenizer_of):
    chat = format_for(tokenizer_of("chatml"), "\ufeff" + SMOLLM2)
    plain = format_for(tokenizer_of("chatml"), SMOLLM2)
    talk = conversation(("user", "\ufeffHi"))
    assert chat.render(talk) == plain.render(talk)
    assert chat.digest == plain.digest
    assert "\ufeffHi" in chat.render(talk).text, "in a caller's text it is a character"


def test_schemas_nested_deeper_than_any_model_reads_are_refused_in_words(tokenizer_of):
    deep = {}
    for _ in range(900):
        deep = {"x": [deep]}
    tool = Tool(name="deep", parameters={"type": "object", "properties": deep})
    with pytest.raises(ChatError, match="more than 100 deep"):
        format_for(tokenizer_of("chatml")).render(conversation(("user", "?"), tools=(tool,)))


def test_the_part_is_imported_without_anything_heavy():
    program = "import sys, ouvert.chat; sys.exit(bool({'jinja2', 'tokenizers', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# As DeepSeek's do: a call without words has no turn of words before it.
ASKS_FOR_NULL = (
    "{% for m in messages %}{% if m.content is none %}<call>{{ m.tool_calls[0].function.name }}{% else %}"
    "[{{ m.content }}]{% if m.tool_calls %}<call>{{ m.tool_calls[0].function.name }}{% endif %}{% endif %}{% endfor %}"
)
CALLING = Message(role="assistant", tool_calls=(ToolCall("call_1", "weather", "{}"),))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (ASKS_FOR_NULL, "[?]<call>weather"),
        ("{% for m in messages %}{% if 'content' in m %}[{{ m.content }}]{% endif %}{% endfor %}", "[?]"),
        ("{% for m in messages %}{{ m.content }}{% if m.content is none %}!{% endif %}{% endfor %}", "?"),  # None and !
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", "[?][]"),  # would print None
        ("{% for m in messages %}[{{ m.content + '!' }}]{% endfor %}", "[?!][!]"),  # would fail
        ("{% for m in messages %}{% if m.content %}[{{ m.content }}]{% endif %}{% endfor %}", "[?]"),
        ("{% for m in messages %}[{{ m.content or 'None' }}]{% endfor %}", "[?][None]"),
    ],
)
def test_a_call_without_words_makes_no_empty_turn_where_the_template_would_not(tokenizer_of, template, expected):
    chat = TemplateFormat(tokenizer_of("plain"), template)
    assert chat.render(conversation(("user", "?"), CALLING)).text == expected


def test_words_beside_a_call_stay(tokenizer_of):
    chat = TemplateFormat(tokenizer_of("plain"), ASKS_FOR_NULL)
    said = Message(role="assistant", content="Let me see.", tool_calls=CALLING.tool_calls)
    assert chat.render(conversation(("user", "?"), said)).text == "[?][Let me see.]<call>weather"
    assert chat.render(conversation(("user", ""), ("assistant", ""))).text == "[][]", "empty words without a call stay"


def test_a_hundred_thousand_messages_take_no_longer_each(tokenizer_of):
    """Nothing is looked for from the beginning again for every message."""
    import sys

    chat = format_for(tokenizer_of("chatml"))
    steps = []
    for count in (100, 1000):
        talk = conversation(*[("user", ""), ("tool", "x")] * count)
        calls = 0

        def count_call(frame, event, arg):
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count_call)
        try:
            chat.render(talk)
        finally:
            sys.setprofile(None)
        steps.append(calls)
    assert steps[1] < 11 * steps[0]
