"""The native engine on real weights, as people run it: beside llama.cpp, and both beside the float32 graph.

Both round activations to 8 bits, ours in blocks of 32 columns, llama.cpp's in blocks of 32 or, for K encodings, of 256.
Where logits are made, ours are rounded to 16 bits. What all that does to the next token's probabilities is the KL
divergence from the float32 graph on the same file: it must not be worse than llama.cpp's.
"""

import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Encoding

# In gpt-oss with random weights the errors that both programs make in experts outweigh those of the unembedding. They
# are equally large and differ by chance, as do those of two engines of ours of which one rounds its caches differently:
# by up to 7 %.
BY_CHANCE = 1.1
# Float32 activations leave float32's rounding and that of caches in half precision.
EXACT = 1e-3
# Two programs that both round: √2 times what is allowed where one does (test_smollm2.py in models).
NEAR_TIE = 0.3 * 2**0.5

# Encoding, and whether columns must be a multiple of 256. Blocks of 256 cost llama.cpp more than chance.
LAYOUTS = ((Encoding.Q4_0, False), (Encoding.Q8_0, False), (Encoding.MXFP4, False), (Encoding.Q4_K, True))

GPT_OSS = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 4,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "max_position_embeddings": 512,
}


@pytest.fixture(scope="module")
def native(smollm2, native_of):
    return native_of(smollm2)


@pytest.fixture(scope="module")
def native_logits(native, llama_cpp_as_shipped):
    return {name: native()(ids) for name, ids in llama_cpp_as_shipped.ids.items()}


def measured(name, agreement, reference, **others):
    """Mean divergences of the others from the reference, printed."""
    found = {who: agreement.divergence(reference, logits) for who, logits in others.items()}
    for who, each in found.items():
        error = each.std() / len(each) ** 0.5
        print(f"{name}: KL(float32 || {who}) {each.mean():.3e} ± {error:.0e} over {len(each)} tokens")
    return {who: each.mean() for who, each in found.items()}


def test_it_is_as_near_to_float32_as_llama_cpp(native_logits, exact, reference_logits, llama_cpp_as_shipped, agreement):
    texts = llama_cpp_as_shipped.ids
    joined = {
        who: np.concatenate([logits[name] for name in texts])
        for who, logits in {
            "reference": reference_logits,
            "native": native_logits,
            "llama.cpp": llama_cpp_as_shipped.logits,
            "exact": {name: exact()(ids) for name, ids in texts.items()},
        }.items()
    }
    found = measured("as shipped", agreement, joined.pop("reference"), **joined)
    assert found["native"] <= found["llama.cpp"]
    assert found["exact"] <= EXACT * found["llama.cpp"]


@pytest.mark.parametrize(("encoding", "widened"), LAYOUTS, ids=[encoding.name for encoding, _ in LAYOUTS])
def test_so_it_is_in_other_encodings(
    encoding, widened, smollm2, rewriting, reference_of, native_of, llama_cpp, llama_cpp_as_shipped, agreement, tmp_path
):
    path, ids = tmp_path / "model.gguf", llama_cpp_as_shipped.ids["page"]
    rewriting.rewrite(smollm2, path, encoding, widened=widened)
    with llama_cpp(path) as theirs:
        their_logits = theirs.logits(ids)
    found = measured(
        encoding.name,
        agreement,
        reference_of(path)()(ids),
        native=native_of(path)()(ids),
        **{"llama.cpp": their_logits},
        exact=native_of(path, exact=True)()(ids),
    )
    assert found["native"] <= (0.5 if widened else 1) * found["llama.cpp"]
    assert found["exact"] <= EXACT * found["llama.cpp"]


def test_a_widened_model_is_the_same_function(
    smollm2, rewriting, reference_of, reference_logits, llama_cpp_as_shipped, tmp_path
):
    rewriting.rewrite(smollm2, tmp_path / "wide.gguf", Encoding.F32, widened=True)
    wide = reference_of(tmp_path / "wide.gguf")()(llama_cpp_as_shipped.ids["page"][:32])
    np.testing.assert_allclose(wide, reference_logits["page"][:32], rtol=0, atol=1e-3)


def test_its_experts_are_as_near(make_models, reference_of, native_of, llama_cpp, agreement, tmp_path):
    """gpt-oss with random weights: experts in MXFP4, the rest in Q8_0.

    Without YaRN, of whose settings in a GGUF file llama.cpp overlooks two (beta_fast and beta_slow).
    """
    values = make_models.SMALL | make_models.GPT_OSS | make_models.heads(8, 2, 32) | GPT_OSS
    values["rope_parameters"] = make_models.DEFAULT
    model = make_models.draw(transformers.GptOssConfig(**values), 1)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    make_models.into_mxfp4(tmp_path, 1)
    path, ids = tmp_path / "model.gguf", np.random.default_rng(2).integers(0, GPT_OSS["vocab_size"], 400)
    make_models.write_gguf(tmp_path, path, Encoding.Q8_0)
    with llama_cpp(path) as theirs:
        their_logits = theirs.logits(ids)
    found = measured(
        "gpt-oss",
        agreement,
        reference_of(path)()(ids),
        native=native_of(path)()(ids),
        **{"llama.cpp": their_logits},
        exact=native_of(path, exact=True)()(ids),
    )
    assert found["native"] <= BY_CHANCE * found["llama.cpp"]
    assert found["exact"] <= 0.1 * found["llama.cpp"]  # now and then rounding chooses another expert


def test_greedy_answers_agree_with_llama_cpp(native, llama_cpp_as_shipped, agreement):
    ours = [agreement.greedy(native(), prompt, 64) for prompt in llama_cpp_as_shipped.prompts]
    found = [agreement.compare(*both) for both in zip(ours, llama_cpp_as_shipped.answers, strict=True)]
    print(*found, sep="\n")
    assert all(each.gap < NEAR_TIE for each in found)


def test_perplexity_agrees_with_llama_cpp(native_logits, llama_cpp_as_shipped, reference_logits, agreement):
    """Over both texts: rounding moves the perplexity of a single page by some tenths of a percent by chance."""
    ids = llama_cpp_as_shipped.ids

    def perplexity(logits):
        surprises = {name: agreement.surprises(logits[name], ids[name]) for name in ids}
        print({name: round(float(np.exp(each.mean())), 4) for name, each in surprises.items()})
        return np.exp(np.concatenate(list(surprises.values())).mean())

    ours, theirs, exactly = map(perplexity, (native_logits, llama_cpp_as_shipped.logits, reference_logits))
    print(f"native {ours:.4f}, llama.cpp {theirs:.4f}, float32 {exactly:.4f}")
    assert ours == pytest.approx(theirs, rel=0.005)
