"""Templates against transformers' apply_chat_template, live."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import Conversation, Message, builtin_template, format_for
from ouvert.chat.template import TemplateFormat

NAMES = ("features", "smollm2", "chatml", "deepseek", "kimi", "llama3", "mistral")
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
    """The features cut and measure text, which shows what the guard puts into look-alikes; so there are none."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "extra": {"thinks": True}}
    control = ("<s>", "</s>")
    return {
        name: TemplateFormat(byte_tokenizer(() if name == "features" else control), text, **special)
        for name, text in texts.items()
    }


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
