"""Templates against transformers' apply_chat_template, live."""

import json

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import ChatError, Conversation, Message, builtin_template, format_for
from ouvert.chat.template import TemplateFormat

NAMES = ("features", "smollm2", "chatml", "deepseek", "deepseek31", "kimi", "llama3", "mistral")
LOOKING_NAMES = (
    *(
        "repr of tools",
        "repr of messages",
        "json in ascii",
        "json",
        "urlencode",
        "percent",
        "braces",
        "length",
        "slices",
    ),
    *("letters", "comparisons", "split", "lines", "replace", "letter by letter", "sorted", "blocks", "markup"),
    *("cut short", "kinds", "numbers", "namespaces"),
)
words = st.text(st.sampled_from("ab é你🙂\n\t<>{}%\"'\\&|/"), max_size=12)
identities = st.text(st.sampled_from("abcXYZ019"), min_size=9, max_size=9)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.floats(allow_nan=False, width=32) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def conversations(draw, with_tools):
    """Conversations in the goldens' form."""
    messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(words)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(words)})
        if with_tools and draw(st.booleans()):
            arguments = draw(st.dictionaries(words, values, max_size=3))
            call = {"id": draw(identities), "name": "weather", "arguments": json.dumps(arguments)}
            messages.append({"role": "assistant", "content": draw(words), "tool_calls": [call]})
            answer = {"role": "tool", "content": draw(words), "tool_call_id": call["id"], "name": "weather"}
            messages.append(answer)
        answer = {"role": "assistant", "content": draw(words)}
        if draw(st.booleans()):
            answer["reasoning"] = draw(words)
        messages.append(answer)
    messages.append({"role": "user", "content": draw(words)})
    facts = {"messages": messages}
    if with_tools:
        parameters = {"type": "object", "properties": draw(st.dictionaries(words, values, max_size=3))}
        facts["tools"] = [{"name": draw(words), "description": draw(words), "parameters": parameters}]
    return facts


@pytest.fixture(scope="session")
def texts(make_chat):
    return make_chat.templates(make_chat.smollm2_template())


@pytest.fixture(scope="session")
def formats(texts, byte_tokenizer):
    special = {"bos_token": "<s>", "eos_token": "</s>", "extra": {"thinks": True}}
    tokenizer = byte_tokenizer(("<s>", "</s>", "<|im_end|>", "<think>"))
    return {name: TemplateFormat(tokenizer, text, **special) for name, text in texts.items()}


def test_goldens_are_what_transformers_writes_today(make_chat, texts):
    golden = json.loads((make_chat.FOLDER / "templates.json").read_text(encoding="utf-8"))
    assert golden["smollm2"] == texts["smollm2"]
    for case in golden["cases"]:
        facts = make_chat.CONVERSATIONS[case["conversation"]]
        assert make_chat.by_transformers(texts[case["template"]], facts) == case["text"]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_generated_conversations(make_chat, texts, formats, name, data):
    facts = data.draw(conversations("tools" in texts[name]))
    expected = make_chat.by_transformers(texts[name], facts)
    assert formats[name].render(make_chat.conversation_from(facts)).text == expected


@pytest.mark.parametrize("asks", [{"effort": "high"}, {"thinking": False}])
def test_switches(make_chat, texts, formats, asks):
    facts = make_chat.CONVERSATIONS["hello"] | asks
    assert formats["features"].render(make_chat.conversation_from(facts)).text == make_chat.by_transformers(
        texts["features"], facts
    )


SHRAPNEL = [
    "<|im_end|>",
    "</think>",
    "<s>",
    "<",
    "|",
    ">",
    "f",
    "a B",
    "é",
    "🙂",
    "'",
    '"',
    "\\",
    "\n",
    " ",
    "\ufdd0",
    "%",
    "{",
]
shrapnel = st.lists(st.sampled_from(SHRAPNEL), min_size=1, max_size=6).map("".join)
# As the templates of these models treat earlier answers.
THINKING = {
    "R1's distillations": (
        "{% for m in messages %}{% if m.role == 'assistant' and m.content is not none %}{% set content = m.content %}"
        "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
        "{{ '<|Assistant|>' + content + eos_token }}{% else %}{{ '<|User|>' + m.content }}{% endif %}{% endfor %}"
    ),
    "Qwen3": (
        "{% for m in messages %}{% set content = m.content %}{% set reasoning_content = '' %}"
        "{% if m.role == 'assistant' %}{% if m.reasoning_content is string %}"
        "{% set reasoning_content = m.reasoning_content %}{% elif '</think>' in content %}"
        "{% set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
        "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' if "
        "reasoning_content and loop.last }}{{ content }}<|im_end|>\n{% endfor %}"
    ),
}


@pytest.mark.parametrize("name", LOOKING_NAMES)
@settings(max_examples=15, deadline=None)
@given(content=shrapnel, said=shrapnel, tool=shrapnel)
def test_templates_that_look_into_their_texts(make_chat, byte_tokenizer, name, content, said, tool):
    template = make_chat.LOOKING[name]
    facts = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": said}]}
    if "tools" in template:
        schema = {"type": "object", "properties": {tool: {"enum": ["a", content]}, "n": {"minimum": 3}}}
        facts["tools"] = [{"name": tool, "description": content, "parameters": schema}]
    chat = TemplateFormat(byte_tokenizer(("<|im_end|>", "<s>", "</think>")), template)
    conversation = make_chat.conversation_from(facts)
    try:
        expected = make_chat.by_transformers(template, facts)
    except (jinja2.TemplateError, TypeError, IndexError):
        with pytest.raises(ChatError):
            chat.render(conversation)
    else:
        assert chat.render(conversation).text == expected


@pytest.mark.parametrize("name", THINKING)
@pytest.mark.parametrize(
    "said",
    ["<think>\nHm.\n</think>\n\nYes.", "Hm.\n</think>\n\nYes.", "</think>", "Yes.", "<think>Hm", "a</think>b</think>c"],
)
def test_thoughts_of_earlier_turns_are_cut_where_the_template_cuts_them(make_chat, byte_tokenizer, name, said):
    facts = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]}
    control = ("<s>", "</s>", "<think>", "</think>")
    for more in ([], [{"role": "user", "content": said}]):
        asked = {"messages": facts["messages"] + more}
        chat = TemplateFormat(byte_tokenizer(control), THINKING[name], bos_token="<s>", eos_token="</s>")
        expected = make_chat.by_transformers(THINKING[name], asked)
        assert chat.render(make_chat.conversation_from(asked)).text == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if m.content is defined %}[{{ m.content }}]{% endif %}{{ m.role }}{% endfor %}",
        "{% for m in messages %}{% if 'content' in m %}[{{ m.content }}]{% endif %}{{ m.role }}{% endfor %}",
        "{% for m in messages %}{% if m.content is string %}[{{ m.content }}]{% endif %}{{ m.role }}{% endfor %}",
        "{% for m in messages %}[{{ m.content }}]{{ m.role }}{% endfor %}",
        "{% for m in messages %}{{ '[' ~ m.content ~ ']' if m.content }}{{ m.role }}{% endfor %}",
    ],
)
def test_a_call_without_words_is_what_transformers_makes_of_null(make_chat, byte_tokenizer, template):
    call = {"id": "call_1", "name": "f", "arguments": "{}"}
    user, assistant = {"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}
    expected = make_chat.by_transformers(template, {"messages": [user, assistant | {"content": None}]})
    chat = TemplateFormat(byte_tokenizer(()), template)
    ours = {"messages": [user, assistant | {"content": ""}]}
    assert chat.render(make_chat.conversation_from(ours)).text == expected


def test_named_templates_are_chosen_as_transformers_does(make_chat, byte_tokenizer):
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    named = {"default": "D{{ messages[0].content }}", "tool_use": "T{{ tools[0].function.name }}", "rag": "R"}
    empty = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    reference = PreTrainedTokenizerFast(tokenizer_object=empty, chat_template=named)
    hello = make_chat.CONVERSATIONS["hello"]
    for facts in (hello, hello | {"tools": [make_chat.WEATHER]}):
        messages, tools = make_chat.as_transformers(facts)
        expected = reference.apply_chat_template(messages, tools=tools, tokenize=False)
        assert format_for(byte_tokenizer(()), named).render(make_chat.conversation_from(facts)).text == expected


def test_ids_of_the_real_smollm2(smollm2):
    """Through the real vocabulary, against the tokenizers library reading the same one out of the GGUF."""
    from transformers import AutoTokenizer

    from ouvert.tokenization import tokenizer_from_gguf
    from ouvert.weights import open_checkpoint

    reference = AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    with open_checkpoint(smollm2) as checkpoint:
        tokenizer = tokenizer_from_gguf(checkpoint.metadata)
        chat = format_for(tokenizer, checkpoint.metadata["tokenizer.chat_template"], "llama")
    messages = [("user", "What is the capital of France?"), ("assistant", "Paris."), ("user", "Grüße 你好 🙂?")]
    rendered = chat.render(Conversation(messages=tuple(Message(role=role, content=text) for role, text in messages)))
    expected = reference.apply_chat_template(
        [{"role": role, "content": text} for role, text in messages], add_generation_prompt=True
    )
    assert list(rendered.ids) == list(expected["input_ids"])


def test_the_builtin_chatml_is_smollm2s_own_when_a_system_text_is_given(make_chat, texts):
    facts = make_chat.CONVERSATIONS["with a system"]
    assert make_chat.by_transformers(builtin_template("chatml"), facts) == make_chat.by_transformers(
        texts["smollm2"], facts
    )
