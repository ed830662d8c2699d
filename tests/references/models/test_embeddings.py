"""Vectors of texts beside transformers: the last token's normed value at length 1, as Qwen3-Embedding's card has it."""

import numpy as np

import ouvert

TEXTS = ["Hello", "Hello from a tiny model.", "again " * 30]
# Two layers in float32, and numbers below 1: both programs round each product to 24 bits.
FLOAT32 = 2e-6
# Keys and values in 16 bits, as every day, move these numbers by 2e-4; without its closing token a text is off by 0.2.
EVERY_DAY = 1e-3


def test_vectors_are_those_of_transformers(embedding_model):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedding_model)
    reference = AutoModel.from_pretrained(embedding_model, dtype=torch.float32).eval()
    theirs = []
    for text in TEXTS:
        with torch.no_grad():
            last = reference(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
        theirs.append(torch.nn.functional.normalize(last, dim=0).numpy())
    for exact, cache, tolerance in ((True, "f32", FLOAT32), (False, None, EVERY_DAY)):
        with ouvert.load(embedding_model, exact=exact, cache=cache, receipts=False) as model:
            ours = model.embed(TEXTS)
        np.testing.assert_allclose(ours.vectors, np.array(theirs), rtol=0, atol=tolerance)
    assert ours.tokens == tuple(len(tokenizer(text).input_ids) for text in TEXTS)
