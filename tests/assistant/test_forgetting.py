"""Texts are found again in prompts, however a chat format put them there."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.assistant.forgetting import LEAST, RUN, Forgotten

SECRET = "My doctor says it is swordfish disease, and that I must not tell anybody."


@pytest.mark.parametrize(
    "prompt",
    [
        f"<|im_start|>user\n{SECRET}<|im_end|>\n<|im_start|>assistant\n",
        f"[INST] {SECRET} [/INST]",
        f"Make a title of: {SECRET[:40]}…",
        f"Earlier: …{SECRET[20:]}",
        '{"question":"' + SECRET.replace(" ", "  ") + '"}',
        f"Hello.\n{SECRET[:9]}",  # it breaks off where the text begins
        SECRET.replace("fi", "ﬁ"),  # some tokenizers take ligatures apart
    ],
)
def test_a_text_is_found_whole_cut_off_or_set_anew(prompt):
    assert Forgotten([SECRET]).in_text(prompt)


@pytest.mark.parametrize(
    "prompt", ["", "Hello.", "Which bird lays the largest eggs?", "it is swordfish disease, and that"]
)
def test_other_texts_are_let_alone(prompt):
    assert not Forgotten([SECRET, "", "  "]).in_text(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>user\nHi<|im_end|>",
        "[INST] Hi [/INST]",
        "<｜User｜>Hi<｜Assistant｜>",
        "USER: Hi ASSISTANT:",
        "<|start|>user<|message|>Hi<|end|>",
        "Hi",
    ],
)
def test_a_short_text_is_found_where_it_stands_alone(prompt):
    assert Forgotten(["Hi "]).in_text(prompt)


@pytest.mark.parametrize("prompt", ["<|im_start|>user\nHistory of Hindi<|im_end|>", "Say Hi", "hi"])
def test_a_short_text_is_not_found_inside_of_others(prompt):
    assert not Forgotten(["Hi"]).in_text(prompt)


def test_nothing_is_found_where_nothing_is_to_be_forgotten():
    assert not Forgotten([])
    assert not Forgotten(["", " \n"]).in_text("anything at all, at any length there may be")


texts = st.text(string.ascii_lowercase + " \n", min_size=1, max_size=120).filter(lambda text: text.strip())


@given(texts, st.text(max_size=60), st.text(max_size=60))
def test_a_message_in_a_prompt_is_always_found(text, before, after):
    assert Forgotten([text]).in_text(f"{before}<|im_start|>user\n{text.strip()}<|im_end|>\n{after}")


@given(st.text(string.ascii_lowercase, min_size=2 * RUN, max_size=120), st.data())
def test_two_runs_of_a_text_are_enough_and_so_is_its_beginning_at_the_end(text, data):
    start = data.draw(st.integers(0, len(text) - 2 * RUN))
    assert Forgotten([text]).in_text("# " + text[start : start + 2 * RUN] + " #")
    assert Forgotten([text]).in_text("# " + text[: data.draw(st.integers(LEAST, len(text)))])
