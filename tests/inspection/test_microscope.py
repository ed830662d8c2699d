"""The microscope against what it must give: nothing between equals, and one number in two ways."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ouvert import packed
from ouvert.inspection import InspectionError
from ouvert.inspection.metrics import log_probabilities
from ouvert.inspection.microscope import LENS_TOKENS, Microscope, exact, magnify, own_texts

from .conftest import GOLDENS, IDS


class Ids:
    """A tokenizer of these checkpoints, which have none: a text is numbers."""

    bos, adds_bos = None, False

    def encode(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids, control=False):
        return " ".join(map(str, ids))


TEXT = {"numbers": " ".join(map(str, IDS))}


def with_words(subject):
    return replace(subject, tokenizer=Ids())


def test_exact_against_exact_is_nothing_at_all(subject):
    same = exact(with_words(subject))
    [text] = magnify(same, same, TEXT).texts
    assert text["tokens"] == len(IDS)
    assert not any(text["layers"])
    assert not any(text["lens"])
    assert (text["divergence"], text["flips"]) == (0, 0)
    assert len(text["layers"]) == len(text["lens"]) == subject.layers


def test_what_serves_is_near_what_is_exact_and_not_the_same(case, subject, served_logits):
    result = magnify(with_words(subject), texts=TEXT)
    [text] = result.texts
    assert result.kind == "observation"
    served, wanted = (log_probabilities(served_logits(each)) for each in (subject, exact(subject)))
    divergence = (np.exp(wanted) * (wanted - served)).sum(axis=-1)
    assert text["divergence"] == pytest.approx(divergence.mean(), rel=1e-12)
    assert text["flips"] == (served.argmax(-1) != wanted.argmax(-1)).mean()
    # Tiny checkpoints keep float32 weights, whose activations are not rounded; what is cached is.
    assert all((0 if "mamba" in case else 1e-6) <= distance < 0.2 for distance in text["layers"])


def test_the_lens_of_the_last_layer_is_the_divergence_of_the_answers(subject, served_logits):
    """At the tokens of the lens, which in a short text are all but the first: the same bits through the head alone."""
    assert len(IDS) - 1 <= LENS_TOKENS
    [text] = magnify(with_words(subject), texts=TEXT).texts
    served, wanted = (log_probabilities(served_logits(each)) for each in (subject, exact(subject)))
    divergence = (np.exp(wanted) * (wanted - served)).sum(axis=-1)
    assert text["lens"][-1] == divergence[1:].mean()


def test_a_planted_mistake_shows_at_its_layer_and_above(subject_called, monkeypatch):
    subject = with_words(subject_called("qwen3_moe"))
    other = with_words(subject_called("qwen3_moe"))
    norm = other.model.parameters.layers[2].attention_norm
    norm *= 3
    [text] = magnify(other, subject, TEXT).texts
    assert not any(text["layers"][:2])
    assert all(text["layers"][2:])
    assert text["divergence"] > 0


def test_precisions_of_one_model_and_models_of_other_shapes(subject_called):
    with packed.open_model(GOLDENS / "llama" / "model.safetensors") as files:
        sixteen = replace(subject_called("llama"), model=files.place_in_memory(1, "16").model)
    [text] = magnify(with_words(subject_called("llama")), exact(with_words(sixteen)), TEXT).texts
    assert all(text["layers"])
    assert text["divergence"] > 0
    one, two = with_words(subject_called("deepseek_v3")), with_words(subject_called("deepseek_v3", exact=True))
    assert magnify(one, two, TEXT).texts[0]["layers"]


def test_models_with_other_layers_are_compared_at_the_end_only(subject_called):
    """Their steps may have other lengths too."""
    sizes = {case: subject_called(case).model.config.vocab_size for case in ("llama", "qwen3", "mamba", "qwen3_moe")}
    pairs = [
        (a, b)
        for a in sizes
        for b in sizes
        if a < b and sizes[a] == sizes[b] and subject_called(a).layers != subject_called(b).layers
    ]
    for a, b in pairs:
        [text] = magnify(with_words(subject_called(a)), with_words(subject_called(b)), TEXT).texts
        assert text["layers"] == text["lens"] == ()
        assert text["divergence"] > 0


def test_models_that_read_a_text_differently_are_refused(subject_called):
    class Backwards(Ids):
        def encode(self, text):
            return super().encode(text)[::-1]

    one = with_words(subject_called("llama"))
    with pytest.raises(InspectionError, match=r"read the text 'numbers' as different tokens .*first difference is at"):
        magnify(one, replace(one, tokenizer=Backwards()), TEXT)
    with pytest.raises(InspectionError, match="has 1 tokens, expected 2 or more"):
        magnify(one, texts={"short": "7"})


def test_most_and_progress(subject_called):
    seen = []
    result = magnify(with_words(subject_called("llama")), texts=TEXT, most=10, progress=lambda *n: seen.append(n))
    assert result.texts[0]["tokens"] == 10
    assert seen[-1] == (10, 10)


def test_two_pages_come_with_it():
    assert [*own_texts()] == ["english", "french"]


def test_its_json_is_read_back(subject_called):
    result = magnify(with_words(subject_called("llama")), texts=TEXT)
    facts = json.loads(json.dumps(result.json()))
    assert facts["view"] == "microscope"
    assert json.loads(json.dumps(Microscope.from_json(facts).json())) == facts
    assert result.table()[-1]["layer"] == "answer"
