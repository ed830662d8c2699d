"""A real vocabulary and the template that came with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import Conversation, Message, TextDelta, format_for
from ouvert.tokenization import tokenizer_from_gguf
from ouvert.weights import open_checkpoint


@pytest.fixture(scope="module")
def model(smollm2):
    with open_checkpoint(smollm2) as checkpoint:
        tokenizer = tokenizer_from_gguf(checkpoint.metadata)
        return tokenizer, format_for(tokenizer, checkpoint.metadata["tokenizer.chat_template"], "llama")


def test_an_answer_ends_where_smollm2_ends_it(model):
    tokenizer, chat = model
    assert chat.stop_ids == {tokenizer.control_tokens["<|im_end|>"], tokenizer.control_tokens["<|endoftext|>"]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<|im_end|>", "<|im_start|>", "<repo_name>", "<|", "im_end", "|>", "\n", " ", "é", "🙂", "a", "name"]
        )
        | st.characters(exclude_categories=["Cs"]),
        max_size=10,
    ).map("".join)
)
def test_text_stays_text_and_can_be_found_again(model, text):
    tokenizer, chat = model
    messages = (
        Message(role="user", content=text),
        Message(role="assistant", content="Hm."),
        Message(role="user", content="?"),
    )
    rendered = chat.render(Conversation(messages=messages))
    control = [tokenizer.decode([token], control=True) for token in rendered.ids if token in tokenizer.control_ids]
    assert control == ["<|im_start|>", "<|im_end|>"] * 4 + ["<|im_start|>"]
    # The vocabulary lacks a few rare bytes. Beside those no place can be told, and the whole text counts as supplied.
    if text.strip() and tokenizer.decode(tokenizer.encode(text)) == text:
        [span] = [span for span in rendered.spans if span.message == 0 and span.source == "supplied"]
        # A token across the border counts as supplied, so a line break of the header may be in front.
        assert tokenizer.decode(rendered.ids[span.start : span.stop]) in {text, "\n" + text}


def test_what_it_writes_comes_through(model):
    tokenizer, chat = model
    parser = chat.parser(chat.render(Conversation(messages=(Message(role="user", content="Hi"),))))
    written = "Grüße, 你好 🙂\n<think>no tag</think>"
    tokens = [*tokenizer.encode(written), tokenizer.control_tokens["<|im_end|>"]]
    deltas = [delta for token in tokens for delta in parser.push(token)] + parser.finish("stop")
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert "".join(delta.text for delta in deltas) == written
