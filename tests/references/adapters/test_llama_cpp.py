"""Adapters to llama.cpp and from it: with our file it computes what we do."""

from dataclasses import replace

import gguf
import numpy as np
import pytest

from ouvert.packed import Adapter, open_model
from ouvert.packed.adapters import AdapterError, gguf_files, read_gguf_adapter, write_gguf_adapter

CASES = ["llama", "qwen2", "qwen3", "mixtral", "qwen3_moe-normalised", "gpt_oss", "deepseek_v3-gguf"]
LATENT = ("query_low", "query_nope", "query_rope", "latent", "key_rope")
# float32 in another order, through a few layers, with numbers that the adapter has made larger: measured at 8e-6.
CLOSE, CHANGED = 3e-5, 0.1


def distance(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def usual_distance(ours, theirs):
    """Behind the middle one of the tokens: behind a few, 8 bits on both sides leave more."""
    return np.median(np.abs(ours - theirs).max(1)) / np.abs(theirs).max()


def only(adapter, *endings, but=False):
    """The pairs of weights with these last names, or all others."""
    return Adapter({name: pair for name, pair in adapter.pairs.items() if name.endswith(endings) is not but})


@pytest.fixture
def in_gguf(make_models, goldens, tmp_path):
    """in_gguf(case): (path, files) of the case in GGUF, weights in float32."""
    opened = []

    def written(case):
        path = tmp_path / "model.gguf"
        make_models.write_gguf(goldens / case, path, gguf.GGMLQuantizationType.F32)
        files = open_model(path)
        if files.family.name == "gpt_oss":  # llama.cpp rounds the ends of YaRN's ramp: references/models/test_llama_cpp
            rope = replace(files.config.rope, scaling=replace(files.config.rope.scaling, truncate=True))
            files = replace(files, config=replace(files.config, rope=rope))
        opened.append(files)
        return path, files

    yield written
    for files in opened:
        files.close()


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_from_our_file_what_we_do(case, in_gguf, make_adapter, ours, llama_cpp, ids, tmp_path):
    path, files = in_gguf(case)
    adapter = only(make_adapter(files, scales=(1.25, 0.5)), *LATENT, but=True)
    write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
    adapted = ours(files, adapter)
    assert distance(ours(files, None), adapted) > CHANGED
    with llama_cpp(path, context=64) as theirs:
        theirs.adapt(tmp_path / "adapter.gguf")
        assert distance(adapted, theirs.logits(ids)) < CLOSE
    assert distance(ours(files, read_gguf_adapter(tmp_path / "adapter.gguf", files)), adapted) < CLOSE


def test_smollm2_with_an_adapter_is_served_as_llama_cpp_serves_it(smollm2, make_adapter, served, llama_cpp, tmp_path):
    """Real weights in Q4_1, activations in 8 bits on both sides: with the adapter the two are as far apart as without,
    and the adapter, about as large as trained ones, changes far more than that."""
    ids = np.arange(40) * 97 % 40_000
    with open_model(smollm2) as files, llama_cpp(smollm2) as theirs:
        adapter = make_adapter(files, ranks=(8,), scales=(0.05,))
        write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
        base, adapted = served(files, None, ids), served(files, adapter, ids)
        their_base = theirs.logits(ids)
        theirs.adapt(tmp_path / "adapter.gguf")
        apart = usual_distance(base, their_base)  # measured at 0.020; with the adapter 0.018, and it changes 0.063
        assert usual_distance(adapted, theirs.logits(ids)) < 1.2 * apart
        assert usual_distance(base, adapted) > 2.5 * apart


def test_llama_cpp_leaves_latent_attention_alone(in_gguf, make_adapter, llama_cpp, ids, tmp_path, monkeypatch):
    """What we refuse to write. The day this fails, it may be written."""
    path, files = in_gguf("deepseek_v3-gguf")
    adapter = only(make_adapter(files), *LATENT)
    with pytest.raises(AdapterError, match=r"layers\.0\.query_low, .*adds nothing to the queries and latents"):
        write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
    monkeypatch.setattr(gguf_files, "LEFT_OUT", {})
    for name in LATENT:
        write_gguf_adapter(only(adapter, name), tmp_path / "adapter.gguf", files)
        with llama_cpp(path, context=64) as theirs:
            before = theirs.logits(ids)
            theirs.adapt(tmp_path / "adapter.gguf")
            np.testing.assert_array_equal(theirs.logits(ids), before, name)


@pytest.mark.parametrize("mistake", ["rows of q and k as transformers has them", "alpha forgotten", "experts shifted"])
def test_a_planted_mistake_is_noticed(mistake, in_gguf, make_adapter, ours, llama_cpp, ids, tmp_path):
    path, files = in_gguf("mixtral" if "experts" in mistake else "llama")
    adapter = make_adapter(files)
    wrong = dict(adapter.pairs)
    for name, pair in adapter.pairs.items():
        if mistake.startswith("rows") and name.endswith((".q", ".k")):
            heads, dim = (files.config.num_attention_heads if name.endswith(".q") else 2), files.config.head_dim
            order = np.arange(len(pair.b)).reshape(-1, dim // 2, 2).swapaxes(1, 2).ravel()
            assert len(order) == heads * dim or name.endswith(".k")
            wrong[name] = replace(pair, b=pair.b[order])
        elif mistake.startswith("alpha"):
            wrong[name] = replace(pair, scale=1.0)
        elif mistake.startswith("experts") and pair.experts:
            wrong[name] = replace(pair, experts=tuple(e - 1 for e in pair.experts))
    write_gguf_adapter(Adapter(wrong), tmp_path / "adapter.gguf", files)
    with llama_cpp(path, context=64) as theirs:
        theirs.adapt(tmp_path / "adapter.gguf")
        assert distance(ours(files, adapter), theirs.logits(ids)) > 100 * CLOSE


# llama.cpp rounds what it multiplies such a weight with to the weight's type: 11, 8 and 7 bits.
@pytest.mark.parametrize(("kind", "tolerance"), [("F16", 0.002), ("BF16", 0.02), ("Q8_0", 0.06)])
def test_what_gguf_py_writes_is_read_as_llama_cpp_reads_it(kind, tolerance, in_gguf, ours, llama_cpp, ids, tmp_path):
    """In the encodings of llama.cpp's converter; some ranks of Q8_0, whose blocks have 32 numbers, stay F16."""
    path, files = in_gguf("qwen2")
    random = np.random.default_rng(2)
    writer = gguf.GGUFWriter(tmp_path / "adapter.gguf", "qwen2")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 6.0)
    asked = gguf.GGMLQuantizationType[kind]
    for n in range(files.config.num_hidden_layers):
        for name, outputs, inputs in ((f"blk.{n}.attn_q.weight", 32, 32), (f"blk.{n}.ffn_gate.weight", 40, 32)):
            for last, shape in (("a", (3, inputs)), ("b", (outputs, 3))):
                values = random.standard_normal(shape, np.float32) * np.float32(0.3)
                stored = asked if asked.name != "Q8_0" or shape[1] % 32 == 0 else gguf.GGMLQuantizationType.F16
                writer.add_tensor(f"{name}.lora_{last}", gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    adapter = read_gguf_adapter(tmp_path / "adapter.gguf", files)
    assert {pair.scale for pair in adapter.pairs.values()} == {2.0}
    with llama_cpp(path, context=64) as theirs:
        theirs.adapt(tmp_path / "adapter.gguf")
        assert distance(ours(files, adapter), theirs.logits(ids)) < tolerance
        assert distance(ours(files, None), theirs.logits(ids)) > 0.5
