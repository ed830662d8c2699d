"""Answers as models would have to write them: behind the server's prompt, to the token that stops."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import ChatError, Conversation, Message, ReasoningDelta, TextDelta, Tool, ToolCall, format_for
from ouvert.chat.harmony import HarmonyFormat
from ouvert.chat.template import TemplateFormat

FAMILIES = ("chatml", "qwen3", "llama3", "mistral", "deepseek", "kimi", "kimi-thinking", "harmony")
TEMPLATES = ("smollm2", "chatml", "deepseek", "deepseek31", "kimi", "llama3", "mistral", "features")
VOCABULARY = {"deepseek31": "deepseek", "smollm2": "chatml", "features": "chatml"}
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})

words = st.text(st.sampled_from("ab é你🙂\n\t<>{}%\"'\\&|/"), min_size=1, max_size=12)
sure = words.filter(
    lambda text: text.strip() == text and text[0] not in "{<"
)  # what parsers take away or take for calls
thoughts = st.none() | sure.filter(lambda text: "<" not in text)


@pytest.fixture(scope="module")
def formats(make_chat, tokenizer_of):
    """Every format there is, with its tokenizer: our own for each vocabulary, and each template of the goldens."""
    golden = json.loads((make_chat.FOLDER / "templates.json").read_text(encoding="utf-8"))
    found = {family: (tokenizer_of(family), format_for(tokenizer_of(family))) for family in FAMILIES}
    for name, text in make_chat.templates(golden["smollm2"]).items():
        tokenizer = tokenizer_of(VOCABULARY.get(name, name))
        found[f"template {name}"] = tokenizer, TemplateFormat(tokenizer, text, extra={"thinks": True})
    return found


ALL = (*FAMILIES, *(f"template {name}" for name in TEMPLATES))


def read_back(chat, rendered, ids):
    parser = chat.parser(rendered)
    deltas = [delta for token in ids for delta in parser.push(token)] + parser.finish("stop")
    said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    thought = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    return said, thought or None, [(call.name, json.loads(call.arguments)) for call in parser.tool_calls]


def prompt_of(chat, conversation, *, thought):
    """As somebody asks who wants thoughts, if there are some."""
    rendered = chat.render(conversation)
    if thought and rendered.thoughtless:
        conversation = replace(conversation, thinking=True)
        rendered = chat.render(conversation)
    return conversation, rendered


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(asked=st.lists(words, min_size=1, max_size=3), earlier=words, said=sure, thought=thoughts)
def test_an_answer_is_read_back_as_it_was_said(formats, name, asked, earlier, said, thought):
    tokenizer, chat = formats[name]
    turns = [Message(role="user", content=asked[0])]
    for text in asked[1:]:
        turns += [Message(role="assistant", content=earlier), Message(role="user", content=text)]
    if not chat.abilities.thinks:
        thought = None
    conversation, rendered = prompt_of(chat, Conversation(messages=tuple(turns)), thought=thought)
    answer = chat.answer(conversation, rendered, Message(role="assistant", content=said, reasoning=thought))
    assert answer.ids[-1] in chat.stop_ids
    assert not chat.stop_ids.intersection(answer.ids[:-1])
    text, thinking, calls = read_back(chat, rendered, answer.ids)
    assert (text.strip(), thinking, calls) == (said, thought, [])
    # The thought is the beginning that it says, and nothing of the words.
    _, first, _ = read_back(chat, rendered, answer.ids[: answer.thought])
    assert first == thought
    assert not thought or said in tokenizer.decode(answer.ids[answer.thought :])


@pytest.mark.parametrize("name", [name for name in ALL if name not in {"template smollm2", "template features"}])
@settings(max_examples=40, deadline=None)
@given(asked=words, arguments=st.dictionaries(words, words, max_size=3))
def test_a_call_is_read_back_as_it_was_made(formats, name, asked, arguments):
    _, chat = formats[name]
    conversation = Conversation(messages=(Message(role="user", content=asked),), tools=(WEATHER,))
    rendered = chat.render(conversation)
    call = ToolCall("call_1", "weather", json.dumps(arguments))
    answer = chat.answer(conversation, rendered, Message(role="assistant", tool_calls=(call,)))
    assert answer.ids[-1] in chat.stop_ids
    assert read_back(chat, rendered, answer.ids) == ("", None, [("weather", arguments)])


@pytest.mark.parametrize("name", ALL)
def test_what_the_prompt_supplies_is_not_written_again(formats, make_chat, name):
    tokenizer, chat = formats[name]
    for facts in make_chat.CONVERSATIONS.values():
        conversation = make_chat.conversation_from(facts)
        if conversation.tools:
            continue
        rendered = chat.render(conversation)
        answer = chat.answer(conversation, rendered, Message(role="assistant", content="Yes."))
        header = tokenizer.decode(rendered.ids[rendered.spans[-1].start :], control=True)
        written = tokenizer.decode(answer.ids, control=True)
        assert not header.strip() or header.strip() not in written, (header, written)
        before_the_words = written.partition("Yes.")[0]
        closes = "</think>" if rendered.thinking else ""
        assert before_the_words.strip() in {closes, "<|channel|>final<|message|>"}


def test_the_tokens_of_a_prompt_and_an_answer_are_those_of_both_together(make_chat, smollm2):
    """Where the format shows the answer as it was written, the text of both is what the format writes of both."""
    from ouvert.tokenization import tokenizer_from_gguf
    from ouvert.weights import open_checkpoint

    with open_checkpoint(smollm2) as checkpoint:
        tokenizer = tokenizer_from_gguf(checkpoint.metadata)
        chat = format_for(tokenizer, checkpoint.metadata["tokenizer.chat_template"], "llama")
    asked = Conversation(messages=(Message(role="user", content="Grüße?"),))
    said = Message(role="assistant", content="\n\nBonjour,  le monde 🙂")
    rendered = chat.render(asked)
    answer = chat.answer(asked, rendered, said)
    after = (*asked.messages, said, Message(role="user", content="x"))
    later = chat.render(replace(asked, messages=after))
    together = rendered.ids + answer.ids
    assert later.text.startswith(tokenizer.decode(together, control=True))
    # "assistant\n" and "\n\nBonjour" have a token of two line breaks in the past, and cannot where an answer begins.
    assert together != later.ids[: len(together)]
    plain = Message(role="assistant", content="Bonjour")
    together = rendered.ids + chat.answer(asked, rendered, plain).ids
    assert chat.render(replace(asked, messages=(*asked.messages, plain, after[-1]))).ids[: len(together)] == together


def test_harmony_ends_an_answer_behind_its_first_call(tokenizer_of):
    chat = HarmonyFormat(tokenizer_of("harmony"))
    conversation = Conversation(messages=(Message(role="user", content="?"),), tools=(WEATHER,))
    calls = tuple(ToolCall(f"call_{n}", "weather", f'{{"city":"{n}"}}') for n in range(2))
    answer = chat.answer(conversation, chat.render(conversation), Message(role="assistant", tool_calls=calls))
    assert answer.ids[-1] == chat.tokens.call
    assert read_back(chat, chat.render(conversation), answer.ids)[2] == [("weather", {"city": "0"})]


@pytest.mark.parametrize("family", ["chatml", "llama3"])
def test_thoughts_without_a_place_are_refused(formats, family):
    _, chat = formats[family]
    conversation = Conversation(messages=(Message(role="user", content="?"),))
    with pytest.raises(ChatError, match="no place"):
        chat.answer(conversation, chat.render(conversation), Message(role="assistant", content="a", reasoning="b"))


def test_an_answer_that_nothing_would_end_is_refused(byte_tokenizer):
    chat = TemplateFormat(byte_tokenizer(), "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    conversation = Conversation(messages=(Message(role="user", content="?"),))
    with pytest.raises(ChatError, match="no token at which an answer ends"):
        chat.answer(conversation, chat.render(conversation), Message(role="assistant", content="a"))


def test_a_template_that_ends_no_turn_gets_the_token_that_does(byte_tokenizer):
    tokenizer = byte_tokenizer(("<s>", "</s>"), eos="</s>", ends=("</s>",))
    text = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    text += "{% if add_generation_prompt %}assistant: {% endif %}"
    chat = TemplateFormat(tokenizer, text)
    conversation = Conversation(messages=(Message(role="user", content="?"),))
    answer = chat.answer(conversation, chat.render(conversation), Message(role="assistant", content="a b"))
    assert tokenizer.decode(answer.ids, control=True) == "a b</s>"


def test_words_that_look_like_the_end_are_words(formats):
    tokenizer, chat = formats["qwen3"]
    conversation = Conversation(messages=(Message(role="user", content="?"),))
    said = Message(role="assistant", content="write <|im_end|> to stop, </think> to go on")
    answer = chat.answer(conversation, chat.render(conversation), said)
    assert tokenizer.decode(answer.ids) == said.content
    assert answer.ids.count(tokenizer.control_tokens["<|im_end|>"]) == 1
