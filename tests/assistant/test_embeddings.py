"""Texts to vectors: what is read of a text, batches, and what is refused."""

import json
import shutil

import numpy as np
import pytest

import ouvert
from ouvert.assistant import AssistantError
from ouvert.engine import EngineError
from ouvert.engine.local import batches
from ouvert.engine.steps import STEP_TOKENS
from ouvert.store import Store
from ouvert.weights import CheckpointError

TEXTS = ["Hello", "Hello from a tiny model.", "again " * 40, "A tiny model"]


@pytest.fixture(scope="module")
def model(embedding_model):
    with ouvert.load(embedding_model, receipts=False, prefixes=False) as model:
        yield model


def test_every_text_has_a_vector_of_length_one_behind_its_closing_token(model):
    found = model.embed(TEXTS)
    assert found.vectors.shape == (4, model.info.embedding_size) == (4, 64)
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)
    tokenizer = model.tokenizer
    closing = tokenizer.control_tokens["<|im_end|>"]
    ids = [[*tokenizer.encode(text), closing] for text in TEXTS]
    assert found.tokens == tuple(map(len, ids))
    np.testing.assert_array_equal(model.embed(ids).vectors, found.vectors)


def test_a_vector_is_the_same_bits_alone_and_among_others_and_in_pieces(model):
    together = model.embed([*TEXTS, "again " * 80]).vectors
    for n, text in enumerate([*TEXTS, "again " * 80]):
        np.testing.assert_array_equal(model.embed([text]).vectors[0], together[n])


def test_fewer_dimensions_are_the_first_at_length_one(model):
    whole, first = model.embed(TEXTS).vectors, model.embed(TEXTS, dimensions=8).vectors
    np.testing.assert_allclose(first, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), rtol=1e-6)
    with pytest.raises(AssistantError, match="dimensions is 65, expected 1 to 64"):
        model.embed(TEXTS, dimensions=65)


def test_a_text_that_does_not_fit_is_refused_or_cut_with_its_closing_token(model):
    with pytest.raises(EngineError, match="context holds 512"):
        model.embed(["x" * 600])
    assert model.embed(["x" * 600], truncate=True).tokens == (512,)
    cut = model.embed(["x" * 511]).vectors
    np.testing.assert_array_equal(model.embed(["x" * 600], truncate=True).vectors, cut)


def test_nothing_is_no_text(model):
    with pytest.raises(AssistantError, match="a text is empty"):
        model.embed(["Hello", ""])


def test_it_writes_no_text_and_one_that_writes_makes_no_vectors(model, speaking_model):
    for ask in (lambda: model.chat("Hi"), lambda: model.logits([1, 2]), lambda: model.score([1, 2])):
        with pytest.raises(EngineError, match="makes embeddings and writes none"):
            ask()
    with ouvert.load(speaking_model(), receipts=False) as other, pytest.raises(EngineError, match="Qwen3-Embedding"):
        other.embed(["Hi"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True}, "it asks for pooling_mode_mean_tokens"),
        ("modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.Dense", "path": "2"}], "Dense, expected"),
        ("modules.json", [{"type": "a.Transformer"}], "expected its type and path"),
        ("modules.json", {}, "expected a JSON list"),
    ],
)
def test_other_ways_to_make_one_vector_are_refused(embedding_model, tmp_path, name, content, said):
    folder = tmp_path / "other"
    shutil.copytree(embedding_model, folder)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=said):
        ouvert.load(folder)


def test_a_family_without_embeddings_says_so(embedding_model, speaking_model, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(speaking_model(), folder)
    for name in ("modules.json", "1_Pooling"):
        copy = shutil.copytree if name == "1_Pooling" else shutil.copy
        copy(embedding_model / name, folder / name)
    with pytest.raises(CheckpointError, match="qwen3 only, not for llama"):
        ouvert.load(folder)


def test_texts_are_computed_together_as_far_as_a_step_goes():
    lengths = [5, STEP_TOKENS * 3, 7, STEP_TOKENS - 12, 1]
    made = batches(lengths)
    assert sorted(n for batch in made for n in batch) == [0, 1, 2, 3, 4]
    assert all(len(batch) == 1 or sum(lengths[n] for n in batch) <= STEP_TOKENS for batch in made)
    assert [4, 0, 2] in made


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_is_brought_into_the_store_with_what_says_how_vectors_are_made(embedding_model, tmp_path, copy):
    store = Store(tmp_path)
    store.pull(str(embedding_model), name="mine", copy=copy)
    with ouvert.load("mine", store=store, receipts=False) as model:
        assert model.info.embedding_size == 64
    assert store.verify("mine").name == "mine"
    store.remove("mine")
