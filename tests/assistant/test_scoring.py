"""Texts and choices that a model finds likely: where a context ends, what counts, and what is refused."""

import math

import numpy as np
import pytest

import ouvert
from ouvert.assistant import AssistantError
from ouvert.engine import EngineError


@pytest.fixture(scope="module")
def smollm2_model(smollm2):
    with ouvert.load(smollm2, receipts=False, prefixes=False) as model:
        yield model


@pytest.fixture(scope="module")
def gpt_oss(tiny_gpt_oss):
    with ouvert.load(tiny_gpt_oss, receipts=False, prefixes=False) as model:
        yield model


def logprob(model, ids, start):
    """From logits, in float64: no part of what is tested."""
    rows = model.logits(ids).astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    shares = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return math.fsum(shares[n - 1, ids[n]] for n in range(start, len(ids)))


def test_a_text_is_read_behind_the_token_that_begins_texts_so_that_all_of_it_counts(smollm2_model):
    model, text = smollm2_model, "Paris est la capitale de la France."
    [read, other] = model.read([text, "Bonjour !"], top=2)
    assert read.ids == (model.tokenizer.bos, *model.tokenize(text))
    assert [token.id for token in read.tokens] == model.tokenize(text)
    assert read.logprob == pytest.approx(logprob(model, read.ids, 1), abs=1e-5)
    assert read.bits_per_byte == pytest.approx(-read.logprob / math.log(2) / len(text.encode()))
    assert all(len(token.top) == 2 for token in other.tokens)
    assert [read] == model.read([text], top=2)


def test_choices_behind_a_text_are_scored_as_the_texts_that_they_make(smollm2_model):
    context, choices = "The capital of France is", [" Paris", " Berlin", " the moon, of course"]
    found = smollm2_model.choices(context, choices)
    start = len(smollm2_model.tokenize(context))
    for choice, each in zip(choices, found, strict=True):
        ids = smollm2_model.tokenize(context + choice)
        assert each.text == choice
        assert [token.id for token in each.tokens] == ids[start:]
        assert each.logprob == pytest.approx(logprob(smollm2_model, ids, start), abs=1e-5)
    assert max(found, key=lambda each: each.logprob).text == " Paris"


def test_a_token_over_the_border_counts_and_then_counts_in_every_choice(smollm2_model):
    """ "is " and "Paris" are " Paris" to the tokenizer, while "is " and " 7" are not: scored alone, the first choice
    would be a token that no text of this kind has, and the sums would be of different things."""
    context, choices = "The capital of France is ", ["Paris", "Berlin", "\nParis"]
    own = smollm2_model.tokenize(context)
    assert smollm2_model.tokenize(context + "Paris")[: len(own)] != own
    found = smollm2_model.choices(context, choices)
    for choice, each in zip(choices, found, strict=True):
        ids = smollm2_model.tokenize(context + choice)
        assert [token.id for token in each.tokens] == ids[len(own) - 1 :]
    spaced = smollm2_model.choices("The capital of France is", [" Paris", " Berlin"])
    assert [each.logprob for each in found[:2]] == [each.logprob for each in spaced]


def test_without_a_context_choices_are_whole_texts(smollm2_model):
    choices = ["The cats sleep.", "The cats sleeps."]
    found = smollm2_model.choices("", choices)
    assert [each.logprob for each in found] == [read.logprob for read in smollm2_model.read(choices)]
    assert found[0].logprob > found[1].logprob


@pytest.mark.parametrize("context", ["x", "x \n", "déjà ", "1", "a\u0301", "🙂", " "])
def test_the_tokens_of_any_border_are_those_of_the_whole_text(smollm2_model, context):
    choices = ["y", " z", "2", "\u0301e", "🙂!", "\n\n", "x" * 30]
    found = smollm2_model.choices(context, choices)
    starts = set()
    for choice, each in zip(choices, found, strict=True):
        ids = smollm2_model.tokenize(context + choice)
        ids = ids if len(ids) > len(each.tokens) else [smollm2_model.tokenizer.bos, *ids]
        assert ids[len(ids) - len(each.tokens) :] == [token.id for token in each.tokens]
        starts.add(len(ids) - len(each.tokens))
        assert each.logprob == pytest.approx(logprob(smollm2_model, ids, min(starts)), abs=1e-5)
    assert len(starts) == 1


def test_as_answers_choices_are_written_by_the_chat_format_with_the_token_that_ends_them(smollm2_model):
    question, choices = "What is the capital of France?", ["Paris", "The capital of France is Paris.", "Berlin"]
    found = smollm2_model.choices(question, choices, chat=True)
    prompt, end = list(smollm2_model.render(question).ids), smollm2_model.tokenizer.eos
    for choice, each in zip(choices, found, strict=True):
        answer = [*smollm2_model.tokenize(choice), end]
        assert [token.id for token in each.tokens] == answer
        assert each.logprob == pytest.approx(logprob(smollm2_model, [*prompt, *answer], len(prompt)), abs=1e-5)


def test_in_harmony_the_header_of_the_final_channel_belongs_to_the_answer(gpt_oss):
    found = gpt_oss.choices("Well?", ["Yes", "No!"], chat=True)
    prompt = list(gpt_oss.render("Well?").ids)
    for choice, each in zip(["Yes", "No!"], found, strict=True):
        written = gpt_oss.detokenize([token.id for token in each.tokens], control=True)
        assert written == f"<|channel|>final<|message|>{choice}"
        ids = [*prompt, *(token.id for token in each.tokens)]
        assert each.logprob == pytest.approx(logprob(gpt_oss, ids, len(prompt)), abs=1e-5)


def test_an_answer_that_looks_like_control_tokens_stays_text(smollm2_model):
    [found] = smollm2_model.choices("Say it", ["<|im_end|>"], chat=True)
    assert len(found.tokens) > 2
    assert smollm2_model.tokenizer.eos not in [token.id for token in found.tokens[:-1]]


def test_another_models_answer_is_read_again(smollm2_model):
    prompt = smollm2_model.render("What is the capital of France?").ids
    written = list(smollm2_model.generate(prompt, temperature=0, max_tokens=12))
    found = smollm2_model.reread(prompt, written, top=3, tokenizer=smollm2_model.tokenizer.digest)
    assert [token.id for token in found] == written
    assert all(token.top[0] == (token.id, token.logprob) for token in found)  # it was greedy
    with pytest.raises(AssistantError, match="tokenizer sha256:other, expected this model's"):
        smollm2_model.reread(prompt, written, tokenizer="sha256:other")
    with pytest.raises(AssistantError, match="prompt has no tokens"):
        smollm2_model.reread([], written)


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda model: model.choices("a", []), AssistantError, "choices"),
        (lambda model: model.choices("a", "abc"), AssistantError, "list of texts"),
        (lambda model: model.choices("a", ["b", ""]), AssistantError, "a character at least"),
        (lambda model: model.read(["a", ""]), AssistantError, "it is empty"),
        (lambda model: model.read(["a " * 9000]), EngineError, "context holds"),
        (lambda model: model.score([1, 2], start=0), EngineError, "starts="),
    ],
)
def test_what_cannot_be_scored_is_refused(smollm2_model, ask, error, said):
    with pytest.raises(error, match=said):
        ask(smollm2_model)
