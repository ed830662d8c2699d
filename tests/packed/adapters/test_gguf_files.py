"""Adapters in GGUF: written and read again, and what is refused. What llama.cpp computes from them:
tests/references/adapters."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from ouvert.packed import Adapter
from ouvert.packed.adapters import AdapterError, read_gguf_adapter, write_gguf_adapter
from ouvert.weights import CheckpointError, open_checkpoint, write_gguf

CASES = ["gpt_oss", "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"]
Q = "blk.0.attn_q.weight"


@pytest.fixture
def llama(open_tiny, make_adapter, tmp_path):
    """(files, their adapter, its file)."""
    files = open_tiny("llama")
    adapter = make_adapter(files, ranks=(3,))
    write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
    return files, adapter, tmp_path / "adapter.gguf"


def content(path):
    with open_checkpoint(path) as checkpoint:
        return dict(checkpoint.metadata), {name: each.decode() for name, each in checkpoint.tensors.items()}


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_as_the_same_adapter(case, open_tiny, make_adapter, tmp_path):
    files = open_tiny(case)
    adapter = make_adapter(files, ranks=(4, 2), scales=(0.5, 1.0))  # one alpha, as llama.cpp has it
    write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files, name="tickets")
    assert read_gguf_adapter(tmp_path / "adapter.gguf", files).digest == adapter.digest
    metadata, _ = content(tmp_path / "adapter.gguf")
    assert metadata["adapter.lora.alpha"] == 2.0
    assert metadata["general.name"] == "tickets"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.gguf"]


def test_other_scales_are_carried_by_b(open_tiny, make_adapter, tmp_path):
    files = open_tiny("mixtral")
    adapter = make_adapter(files, ranks=(3,), scales=(1.25, 0.7))
    write_gguf_adapter(adapter, tmp_path / "adapter.gguf", files)
    found = read_gguf_adapter(tmp_path / "adapter.gguf", files)
    for name, pair in adapter.pairs.items():
        again = found.pairs[name]
        assert again.experts == pair.experts
        np.testing.assert_allclose(again.scale * again.b, pair.scale * pair.b, rtol=3e-7)


def test_no_alpha_means_a_scale_of_one(llama):
    files, _, path = llama
    metadata, tensors = content(path)
    write_gguf(path, {key: each for key, each in metadata.items() if key != "adapter.lora.alpha"}, tensors)
    assert {pair.scale for pair in read_gguf_adapter(path, files).pairs.values()} == {1.0}


def test_an_adapter_of_another_model_is_refused_with_both_sizes(llama, open_tiny, make_adapter):
    *_, path = llama
    with pytest.raises(AdapterError, match=r"lora_b \(24, 3\); this model's tensor is \(16, 30\)"):
        read_gguf_adapter(path, open_tiny("mistral"))
    with pytest.raises(AdapterError, match=r"for the architecture 'llama'; this model's is qwen2"):
        read_gguf_adapter(path, open_tiny("qwen2"))
    with pytest.raises(AdapterError, match=r"the model has \(16, 30\)"):
        write_gguf_adapter(make_adapter(open_tiny("llama")), path, open_tiny("mistral"))


def test_an_adapter_without_scales_is_not_written(llama, open_tiny, tmp_path):
    files, adapter, _ = llama
    silent = Adapter({name: replace(pair, scale=0.0) for name, pair in adapter.pairs.items()})
    with pytest.raises(AdapterError, match=r"every scale of the adapter is 0"):
        write_gguf_adapter(silent, tmp_path / "other.gguf", files)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.type": "model"}, r"general.type is 'model', adapter.type 'lora'"),
        ({"adapter.type": "control_vector"}, r"adapter.type 'control_vector'"),
        ({"adapter.lora.alpha": float("nan")}, r"adapter.lora.alpha is nan, expected a number"),
        ({"adapter.lora.alpha": "many"}, r"adapter.lora.alpha is 'many'"),
        ({"adapter.lora.prompt_prefix": "query: "}, r"prompt_prefix is 'query: ': an adapter that wants a prefix"),
        ({"adapter.lora.something": 3}, r"adapter.lora.something is 3: what is not known"),
        ({"ouvert.ranks": "[3]"}, r"ouvert.ranks"),
    ],
)
def test_metadata_that_are_not_honoured_are_refused_by_name(changes, message, llama):
    files, _, path = llama
    metadata, tensors = content(path)
    write_gguf(path, metadata | changes, tensors)
    with pytest.raises(AdapterError, match=message):
        read_gguf_adapter(path, files)


def test_a_name_for_a_list_is_read(llama):
    files, adapter, path = llama
    metadata, tensors = content(path)
    write_gguf(path, metadata | {"adapter.lora.task_name": "tickets"}, tensors)
    assert read_gguf_adapter(path, files).digest == adapter.digest


def having(name, values):
    return lambda tensors: tensors | {name: values}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {k: v for k, v in tensors.items() if k != f"{Q}.lora_a"}, r"has a lora_b and not the other"),
        (
            having("blk.0.attn_norm.weight", np.ones(30, np.float32)),
            r"attn_norm.weight' is no factor.*leaves a norm",
        ),
        (having(f"{Q}.lora_a", np.ones((2, 30), np.float32)), r"lora_a is \(2, 30\) and lora_b \(48, 3\)"),
        (having(f"{Q}.lora_a", np.ones(30, np.float32)), r"lora_a is \(30,\)"),
        (having(f"{Q}.lora_b", np.full((48, 3), np.inf, np.float32)), r"infinite or none"),
        (
            lambda tensors: {f"token_embd.weight.lora_{x}": tensors[f"{Q}.lora_{x}"] for x in "ab"},
            r"token_embd",
        ),
        (lambda tensors: {}, r"no tensor in it"),
        (lambda tensors: {k: v * 0 for k, v in tensors.items() if "attn_q" in k}, None),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(change, message, llama):
    files, _, path = llama
    metadata, tensors = content(path)
    write_gguf(path, metadata, change(tensors))
    if message is None:  # zeros are numbers: whether an adapter changes something is asked of the whole
        assert read_gguf_adapter(path, files).changes_nothing
        return
    with pytest.raises(AdapterError, match=message):
        read_gguf_adapter(path, files)


def test_more_numbers_than_an_adapter_has_are_not_read(llama):
    files, _, path = llama
    metadata, _ = content(path)
    write_gguf(path, metadata, {f"{Q}.lora_a": np.zeros((1 << 11, 1 << 10), np.float32)})
    with pytest.raises(AdapterError, match=r"holds 2,097,152 numbers, more than an adapter of this model"):
        read_gguf_adapter(path, files)


def test_a_model_is_no_adapter(open_tiny, tmp_path):
    files = open_tiny("llama")
    with pytest.raises(AdapterError, match=r"general.type is None"):
        read_gguf_adapter(files.path / "model.gguf", files)
    with pytest.raises(AdapterError, match=r"general.type is None"):
        read_gguf_adapter(files.path / "model.safetensors", files)


def test_a_file_that_is_cut_off_is_refused(llama):
    files, _, path = llama
    whole = path.read_bytes()
    for end in (0, 4, 30, 200, len(whole) // 2, len(whole) - 64):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            read_gguf_adapter(path, files)
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1 << 60, 1 << 60))
    with pytest.raises(CheckpointError):
        read_gguf_adapter(path, files)
