"""Merged models: every weight is the base's and the adapter's, whatever the base's files are like; mistakes show."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from ouvert.arithmetic import LowRank
from ouvert.packed import Adapter, open_model
from ouvert.packed.adapters import AdapterError, check_merge, merging, plan_merge, write_merge
from ouvert.weights import (
    CheckpointError,
    SafetensorsWriter,
    UnwritableError,
    decode_fp8_blocks,
    encode,
    open_checkpoint,
    write_gguf,
)

FOLDERS = [
    "deepseek_v2", "deepseek_v3", "gpt_oss", "gpt_oss-mxfp4", "llama", "mistral", "mixtral", "qwen2", "qwen3",
    "qwen3_moe",
]  # fmt: skip
GGUF = ["deepseek_v2", "gpt_oss-mxfp4", "llama", "mixtral", "qwen2", "qwen3", "qwen3_moe-normalised"]
IDS = np.random.default_rng(5).integers(0, 64, 20).astype(np.int32)


@pytest.fixture
def merged(open_tiny, make_adapter, tmp_path):
    """merged(case, encoding, file=…): (plan, path), written."""

    def make(case, encoding, file="", adapter=None, name="merged"):
        files = open_tiny(f"{case}/{file}" if file else case)
        plan = plan_merge(files, adapter or make_adapter(files), encoding)
        write_merge(plan, tmp_path / name, {"ouvert.adapter": "tickets"})
        return plan, tmp_path / name

    return make


@pytest.mark.parametrize("case", FOLDERS)
@pytest.mark.parametrize("encoding", ["f16", "bf16"])
def test_a_folder_holds_the_base_and_the_adapter(case, encoding, merged):
    plan, path = merged(case, encoding)
    found = check_merge(plan, path, IDS)
    assert found.changed > 0.3
    assert found.apart < 0.02
    assert sorted(each.name for each in path.iterdir()) == ["config.json", "model.safetensors"]
    said = json.loads((path / "config.json").read_text())
    assert "quantization_config" not in said
    assert said.get("dtype", said.get("torch_dtype")) == {"f16": "float16", "bf16": "bfloat16"}[encoding]
    assert [each.name for each in path.parent.iterdir()] == ["merged"]


@pytest.mark.parametrize("case", GGUF)
@pytest.mark.parametrize("encoding", ["q8_0", "f16", "bf16"])
def test_a_gguf_file_holds_the_base_and_the_adapter(case, encoding, merged):
    plan, path = merged(case, encoding, "model.gguf")
    found = check_merge(plan, path, IDS)
    assert found.changed > 0.3
    assert found.apart < 0.05
    with open_checkpoint(plan.files.path) as base, open_checkpoint(path) as written:
        assert written.metadata["general.file_type"] == {"q8_0": 7, "f16": 1, "bf16": 32}[encoding]
        assert written.metadata["ouvert.adapter"] == "tickets"
        kept = {key: each for key, each in base.metadata.items() if key != "general.file_type"}
        assert kept == {key: written.metadata[key] for key in kept}
        assert list(base.tensors) == list(written.tensors)
        touched = {name for name, each in plan.tensors.items() if not each.copied}
        assert 0 < len(touched) < len(base.tensors)
        for name in base.tensors.keys() - touched:
            assert base.tensors[name].encoding == written.tensors[name].encoding
            np.testing.assert_array_equal(base.tensors[name].data, written.tensors[name].data)


def test_rows_that_are_no_whole_blocks_become_f16_and_that_is_said(merged):
    plan, path = merged("llama", "q8_0", "model.gguf")  # 30 wide
    with open_checkpoint(path) as written:
        assert plan.fallen_back
        assert {written.tensors[name].encoding for name in plan.fallen_back} == {"F16"}
    plan, path = merged("qwen2", "q8_0", "model.gguf", name="other")  # 32 wide, but for 40 within
    with open_checkpoint(path) as written:
        encodings = {each: written.tensors[each].encoding for each in plan.tensors if not plan.tensors[each].copied}
        assert {"Q8_0", "F16"} == set(encodings.values())
        assert {name for name, each in encodings.items() if each == "F16"} == set(plan.fallen_back)


def test_experts_that_lie_alone_share_one_encoding(open_tiny, make_adapter, merged):
    """Half of the experts are adapted, and all of a layer can be read again."""
    plan, path = merged("mixtral", "f16")
    assert check_merge(plan, path).weights
    with open_checkpoint(path) as written:
        assert {each.encoding for name, each in written.tensors.items() if ".experts." in name} == {"F16"}


def test_only_what_the_adapter_changes_is_written_anew(open_tiny, make_adapter, tmp_path):
    files = open_tiny("llama")
    pairs = {name: pair for name, pair in make_adapter(files).pairs.items() if name == "layers.1.v"}
    plan = plan_merge(files, Adapter(pairs), "f16")
    assert [name for name, each in plan.tensors.items() if not each.copied] == [
        "model.layers.1.self_attn.v_proj.weight"
    ]


def in_fp8(files, folder):
    """The model in FP8 with a scale for each block, as DeepSeek ships it, and the same numbers in BF16."""
    random, parts, plain = np.random.default_rng(7), {}, {}
    for name, tensor in files.checkpoint.tensors.items():
        if not name.endswith("_proj.weight"):
            parts[name] = plain[name] = (tensor.encoding, tensor.shape, tensor.data)
            continue
        codes = random.integers(0, 126, tensor.shape).astype(np.uint8) | (
            random.integers(0, 2, tensor.shape) << 7
        ).astype(np.uint8)
        scales = np.full((1, 1), 0.003, np.float32)
        parts[name] = ("F8_E4M3", tensor.shape, codes.reshape(-1))
        parts[f"{name}_scale_inv"] = ("F32", (1, 1), scales.view(np.uint8).reshape(-1))
        plain[name] = ("BF16", tensor.shape, encode("BF16", decode_fp8_blocks(codes, scales)))
    config = json.loads((files.path / "config.json").read_text())
    how = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    for where, tensors, said in (
        (folder / "fp8", parts, config | {"quantization_config": how}),
        (folder / "bf16", plain, config),
    ):
        where.mkdir()
        (where / "config.json").write_text(json.dumps(said))
        with SafetensorsWriter(where / "model.safetensors", {k: each[:2] for k, each in tensors.items()}) as writer:
            for name, (_, _, data) in tensors.items():
                writer.write(name, data)
    return folder / "fp8", folder / "bf16"


def test_a_base_in_fp8_is_decoded_whole(open_tiny, make_adapter, tmp_path):
    fp8, bf16 = in_fp8(open_tiny("deepseek_v3"), tmp_path)
    with open_model(fp8) as files, open_model(bf16) as plain:
        pairs = {name: pair for name, pair in make_adapter(files).pairs.items() if name.startswith("layers.0.")}
        for each, name in ((files, "one"), (plain, "other")):
            plan = plan_merge(each, Adapter(pairs), "bf16")
            write_merge(plan, tmp_path / name, {})
            check_merge(plan, tmp_path / name)
    with open_checkpoint(tmp_path / "one") as one, open_checkpoint(tmp_path / "other") as other:
        assert one.tensors.keys() == other.tensors.keys()
        for name, tensor in one.tensors.items():
            np.testing.assert_array_equal(tensor.data, other.tensors[name].data, name)
    assert (tmp_path / "one" / "config.json").read_bytes() == (tmp_path / "other" / "config.json").read_bytes()


@pytest.mark.parametrize("encoding", ["q4_0", "Q4_1", "mxfp4", "q4_k_m", "f32", ""])
def test_a_grid_of_four_bits_is_refused_with_the_measured_reason(encoding, open_tiny, make_adapter):
    files = open_tiny("llama")
    with pytest.raises(AdapterError, match=r"the base's own grid keeps 0 to 0\.1 %.*Serve it unmerged"):
        plan_merge(files, make_adapter(files), encoding)


def test_blocks_of_eight_bits_are_refused_for_safetensors(open_tiny, make_adapter):
    files = open_tiny("llama")
    with pytest.raises(AdapterError, match=r"is safetensors, which has no blocks of 8 bits"):
        plan_merge(files, make_adapter(files), "q8_0")


def test_another_models_adapter_is_refused(open_tiny, make_adapter):
    with pytest.raises(AdapterError, match=r"adds \(24, 30\) to 'layers.0.k', and .* has \(16, 30\) there"):
        plan_merge(open_tiny("mistral"), make_adapter(open_tiny("llama")), "f16")
    pair = LowRank(np.ones((1, 30), np.float32), np.ones((64, 1), np.float32), 1.0)
    with pytest.raises(AdapterError, match=r"'layers.99.q', and .* has none there"):
        plan_merge(open_tiny("llama"), Adapter({"layers.99.q": pair}), "f16")


def test_what_is_there_already_is_left_alone(merged, tmp_path):
    plan, path = merged("llama", "f16")
    with pytest.raises(AdapterError, match=r"is there already"):
        write_merge(plan, path, {})
    with pytest.raises(UnwritableError, match=r"cannot be written"):
        write_merge(plan, tmp_path / "none" / "merged", {})


@pytest.mark.parametrize("file", ["", "model.gguf"])
def test_a_number_that_sixteen_bits_cannot_hold_is_refused_and_leaves_nothing(file, open_tiny, make_adapter, tmp_path):
    files = open_tiny(f"llama/{file}" if file else "llama")
    pairs = {name: replace(pair, scale=1e7) for name, pair in make_adapter(files).pairs.items()}
    with pytest.raises(CheckpointError, match=r"Choose BF16"):
        write_merge(plan_merge(files, Adapter(pairs), "f16"), tmp_path / "merged", {})
    assert not list(tmp_path.iterdir())


def test_pieces_of_any_size_give_the_same_file(merged, monkeypatch):
    """Rows of q and k in llama.cpp's order are spread over all pieces."""
    _, one = merged("llama", "bf16", "model.gguf")
    monkeypatch.setattr("ouvert.models.stored.MOST_VALUES", 100)
    _, other = merged("llama", "bf16", "model.gguf", name="other")
    assert one.read_bytes() == other.read_bytes()


MISTAKES = {
    "scale forgotten": lambda term: replace(term, b=term.b / np.float32(1.25)),
    "b of the wrong rows": lambda term: replace(term, b=np.roll(term.b, 1, 0)),
    "nothing added": lambda term: replace(term, b=term.b * 0),
    "rows as the other program has them": lambda term: replace(
        term, spot=replace(term.spot, rows=np.sort(term.spot.rows))
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_noticed(mistake, open_tiny, make_adapter, tmp_path, monkeypatch):
    files = open_tiny("llama/model.gguf")
    plan = plan_merge(files, make_adapter(files), "bf16")
    add = merging.add
    monkeypatch.setattr(merging, "add", lambda term, *place: add(MISTAKES[mistake](term), *place))
    write_merge(plan, tmp_path / "merged", {})
    with pytest.raises(AdapterError, match=r"away from the base's weights and the adapter"):
        check_merge(plan, tmp_path / "merged")


def test_a_weight_that_should_have_stayed_is_noticed(merged, tmp_path):
    plan, path = merged("llama", "bf16", "model.gguf")
    data = bytearray(path.read_bytes())
    with open_checkpoint(path) as written:
        place = bytes(written.tensors["token_embd.weight"].data)
    at = data.find(place)
    data[at + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(AdapterError, match=r"embedding is not the base's"):
        check_merge(plan, path)


def test_logits_that_are_another_models_are_noticed(merged, make_adapter, open_tiny, tmp_path, monkeypatch):
    plan, path = merged("llama", "bf16")
    other = replace(plan, adapter=make_adapter(plan.files, seed=4))
    monkeypatch.setattr("ouvert.packed.adapters.merge_check.compare", lambda *_: None)
    with pytest.raises(AdapterError, match=r"of the largest away from those of the base with its adapter"):
        check_merge(other, path, IDS)


def test_a_layout_that_is_not_written_here_is_refused(open_tiny, make_adapter, monkeypatch):
    files = open_tiny("llama")
    monkeypatch.setattr(merging, "stored_tensors", lambda checkpoint: {})
    with pytest.raises(AdapterError, match=r"a layout that is not written here"):
        plan_merge(files, make_adapter(files), "f16")


def test_memory_does_not_grow_with_the_model(tmp_path):
    """A model of 24 MB in F32 and rank 2: besides the adapter, some pieces of a tensor."""
    wide, inner, layers = 256, 1024, 6
    random = np.random.default_rng(1)
    metadata = {
        "general.architecture": "llama", "llama.block_count": layers, "llama.embedding_length": wide,
        "llama.feed_forward_length": inner, "llama.attention.head_count": 8, "llama.attention.head_count_kv": 8,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.context_length": 64, "llama.vocab_size": 64,
    }  # fmt: skip
    tensors = {"token_embd.weight": (64, wide), "output_norm.weight": (wide,)}
    for n in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{n}.{name}.weight"] = (wide, wide)
        tensors |= {f"blk.{n}.ffn_gate.weight": (inner, wide), f"blk.{n}.ffn_up.weight": (inner, wide)}
        tensors |= {f"blk.{n}.ffn_down.weight": (wide, inner), f"blk.{n}.attn_norm.weight": (wide,)}
        tensors[f"blk.{n}.ffn_norm.weight"] = (wide,)
    write_gguf(
        tmp_path / "base", metadata, {k: random.standard_normal(each, np.float32) for k, each in tensors.items()}
    )
    with open_model(tmp_path / "base") as files:
        pairs = {
            f"layers.{n}.gate": LowRank(np.ones((2, wide), np.float32), np.ones((inner, 2), np.float32), 1.0)
            for n in range(layers)
        }
        plan = plan_merge(files, Adapter(pairs), "q8_0")
        tracemalloc.start()
        write_merge(plan, tmp_path / "merged", {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        check_merge(plan, tmp_path / "merged", IDS)
    largest = wide * inner * 4
    assert peak < 8 * largest < (tmp_path / "base").stat().st_size / 2
