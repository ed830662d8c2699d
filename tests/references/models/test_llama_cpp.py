"""GGUF files of every family: our graph and llama.cpp, on the same file."""

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file

from ouvert import arithmetic, models
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
CASES = (
    "llama",
    "llama-stretched",
    "llama-yarn",
    "qwen2",
    "qwen3",
    "gpt_oss",
    "gpt_oss-mxfp4",
    "mixtral",
    "qwen3_moe-normalised",
    "deepseek_v3-gguf",
    "mamba",
    "mamba2",
    "falcon_mamba",
)

# With weights, keys and values in float32, llama.cpp differs by float32's rounding alone: at most 3e-6 of the largest
# logit was seen.
FLOAT32 = 1e-5


def as_llama_cpp_turns(model):
    """llama.cpp rounds the ends of YaRN's ramp outwards; gpt-oss was made without that, and so do we run it.

    For the comparison we round too. What it does to gpt-oss-20b's 32 frequencies: the last two of the ramp become 27 %
    and 76 % faster, those before it less so.
    """
    if model.family.name != "gpt_oss":
        return model
    rope = replace(model.config.rope, scaling=replace(model.config.rope.scaling, truncate=True))
    return replace(model, parameters=replace(model.parameters, rope=rope.rope()))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pieces", [[21], [1] * 21], ids=["prompt", "decoding"])
def test_agrees_with_llama_cpp(case, pieces, llama_cpp, make_models, tmp_path):
    make_models.write_gguf(GOLDENS / case, tmp_path / "model.gguf", gguf.GGMLQuantizationType.F32)
    ids = load_file(GOLDENS / case / "golden.safetensors")["ids"]
    ops = arithmetic.Ops()
    with open_checkpoint(tmp_path / "model.gguf") as checkpoint:
        model = as_llama_cpp_turns(models.load(checkpoint, ops))
    past, start = ops.new_cache(model.memories), 0
    with llama_cpp(tmp_path / "model.gguf", context=64) as theirs:
        for length in pieces:
            piece = ids[start : start + length]
            expected = theirs.step(piece)
            ours = model.forward(ops.begin([(past, piece)], "all"), ops)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
            start += length


def as_architecture(source, path, architecture):
    """The file under another architecture of llama.cpp that has the same tensors, and its head always apart."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            writer.add_key_value(field.name.replace("llama.", f"{architecture}."), field.contents(), field.types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.asarray(tensor.data))
        if tensor.name == "token_embd.weight":
            writer.add_tensor("output.weight", np.asarray(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_internlm2_files_agree_too(llama_cpp, make_models, tmp_path):
    """The golden whose queries are as wide as its residual stream: llama.cpp has InternLM2 in this shape only."""
    make_models.write_gguf(GOLDENS / "llama-yarn", tmp_path / "llama.gguf", gguf.GGMLQuantizationType.F32)
    as_architecture(tmp_path / "llama.gguf", tmp_path / "model.gguf", "internlm2")
    ids = load_file(GOLDENS / "llama-yarn" / "golden.safetensors")["ids"]
    ops = arithmetic.Ops()
    with open_checkpoint(tmp_path / "model.gguf") as checkpoint:
        model = models.load(checkpoint, ops)
    with llama_cpp(tmp_path / "model.gguf", context=64) as theirs:
        expected = theirs.step(ids)
    ours = model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())


@pytest.mark.parametrize("pieces", [[21], [1] * 21], ids=["prompt", "decoding"])
@pytest.mark.parametrize("layout", ["V3, as before April 2025", "V2-Lite", "V2-Lite, as before April 2025"])
def test_both_conversions_of_deepseek_agree_with_llama_cpp(layout, pieces, llama_cpp, make_models, tmp_path):
    """llama.cpp takes 26 layers for the mark of a model whose queries do not go by way of a latent."""
    folder, tolerance = GOLDENS / "deepseek_v3-gguf", FLOAT32
    ids = load_file(folder / "golden.safetensors")["ids"]
    if layout.startswith("V2"):
        kind, values = make_models.CASES["deepseek_v2"]
        config = getattr(transformers, kind)(**(make_models.SMALL | values | {"num_hidden_layers": 26}))
        folder, tolerance = tmp_path / "v2", 4 * FLOAT32  # nine times the layers
        make_models.draw(config, seed=3).save_pretrained(folder)
    path = tmp_path / "model.gguf"
    make_models.write_gguf(folder, path, gguf.GGMLQuantizationType.F32, whole_kv_b="before" in layout)
    ops = arithmetic.Ops()
    with open_checkpoint(path) as checkpoint:
        assert ("blk.0.attn_kv_b.weight" in checkpoint.tensors) == ("before" in layout)
        model = models.load(checkpoint, ops)
    past, start = ops.new_cache(model.memories), 0
    with llama_cpp(path, context=64) as theirs:
        for length in pieces:
            piece = ids[start : start + length]
            expected = theirs.step(piece)
            ours = model.forward(ops.begin([(past, piece)], "all"), ops)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())
            start += length


def with_an_expert_a_tensor(source, path):
    """The file as llama.cpp converted Mixtral before April 2024; today it refuses such files."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            writer.add_key_value(field.name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        if "_exps." not in tensor.name:
            writer.add_tensor(tensor.name, np.asarray(tensor.data))
            continue
        for e, expert in enumerate(tensor.data):
            writer.add_tensor(tensor.name.replace("_exps.", f".{e}."), np.ascontiguousarray(expert))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_an_old_file_with_an_expert_a_tensor_computes_what_the_new_one_does(llama_cpp, make_models, tmp_path):
    new, old = tmp_path / "new.gguf", tmp_path / "old.gguf"
    make_models.write_gguf(GOLDENS / "mixtral", new, gguf.GGMLQuantizationType.F32)
    with_an_expert_a_tensor(new, old)
    ids = load_file(GOLDENS / "mixtral" / "golden.safetensors")["ids"]
    ops = arithmetic.Ops()
    with open_checkpoint(old) as checkpoint:
        assert "blk.1.ffn_down.4.weight" in checkpoint.tensors
        model = models.load(checkpoint, ops)
    ours = model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops)
    with llama_cpp(new, context=64) as theirs:
        expected = theirs.step(ids)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
