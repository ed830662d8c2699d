"""What DeepSeek-V3's checkpoints brought: FP8 blocks (others have them too), further layers, faults that are named."""

import json

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.kernels.packing import unpack
from ouvert.models import CheckpointError
from ouvert.models.deepseek_v3.names import parameters
from ouvert.models.sources import Fp8Blocks, HeadsOf, matrices
from ouvert.weights import Tensor, decode_fp8_blocks, open_checkpoint

BF16 = np.dtype("<u2")


def folder_with(golden, tmp_path, tensors, **changes):
    """The golden with other tensors (bytes and encodings as safetensors names them) and other words."""
    config = json.loads((golden.folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    header, data = {}, b""
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return tmp_path


def stored(golden):
    with open_checkpoint(golden.folder / "model.safetensors") as checkpoint:
        return {name: (each.encoding, each.shape, each.data.tobytes()) for name, each in checkpoint.tensors.items()}


def logits(folder, ids):
    ops = arithmetic.Ops()
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, ops)
    return model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops)


def native_logits(folder, ids):
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        program = kernels.build(kernels.Tracer(), models.load(checkpoint, packed.InMemory()), threads=1)
    return program.step([(program.new_sequence(64), np.array(ids, np.int32))], "all")


def bf16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(BF16).tobytes()


@pytest.mark.parametrize(
    ("family", "kind_of_scales"), [("deepseek_v3", "F32"), ("qwen3", "BF16"), ("llama", "F32"), ("mixtral", "BF16")]
)
def test_fp8_blocks_are_read_as_the_bf16_that_deepseeks_converter_makes_of_them(
    family, kind_of_scales, golden_of, tmp_path
):
    golden, random = golden_of(family), np.random.default_rng(1)
    in_fp8, in_bf16 = {}, {}
    for name, (kind, shape, content) in stored(golden).items():
        if not name.endswith(("proj.weight", "w1.weight", "w2.weight", "w3.weight")):
            in_fp8[name] = in_bf16[name] = (kind, shape, content)
            continue
        codes = random.integers(0, 256, shape).astype(np.uint8)
        codes[codes & 0x7F == 0x7F] = 0  # not numbers
        scales = np.full((1, 1), 0.004, np.float32) * random.uniform(0.5, 1, (1, 1)).astype(np.float32)
        encoded = scales.tobytes()
        if kind_of_scales == "BF16":
            encoded = bf16(scales)
            scales = (np.frombuffer(encoded, BF16).astype(np.uint32) << 16).view(np.float32).reshape(1, 1)
        in_fp8[name] = ("F8_E4M3", shape, codes.tobytes())
        in_fp8[name + "_scale_inv"] = (kind_of_scales, (1, 1), encoded)
        in_bf16[name] = ("BF16", shape, bf16(decode_fp8_blocks(codes, scales)))
    for name in ("fp8", "bf16"):
        (tmp_path / name).mkdir()
    how = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    how |= {"scale_fmt": "ue8m0", "modules_to_not_convert": ["lm_head"]}
    fp8 = folder_with(golden, tmp_path / "fp8", in_fp8, quantization_config=how)
    plain = folder_with(golden, tmp_path / "bf16", in_bf16)
    assert len(in_fp8) > len(in_bf16)
    np.testing.assert_array_equal(logits(fp8, golden.ids), logits(plain, golden.ids))
    np.testing.assert_array_equal(native_logits(fp8, golden.ids), native_logits(plain, golden.ids))


def test_every_block_of_fp8_has_its_own_scale():
    random = np.random.default_rng(2)
    codes, scales = random.integers(0, 127, (300, 200)).astype(np.uint8), random.random((3, 2)).astype(np.float32)
    source = Fp8Blocks(
        Tensor("w", codes.shape, "F8_E4M3", codes.ravel()),
        Tensor("s", scales.shape, "F32", scales.view(np.uint8).ravel()),
    )
    expected = np.frombuffer(bf16(decode_fp8_blocks(codes, scales)), BF16).reshape(codes.shape)
    np.testing.assert_array_equal(source.whole().data.view(BF16).reshape(codes.shape), expected)
    turned = HeadsOf(source, 3, 10, 90, transposed=True).expert(1)
    np.testing.assert_array_equal(turned.data.view(BF16).reshape(200, 80), expected[110:190].T)


INT4 = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head", "re:.*self_attn.*"],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "input_activations": None,
            "output_activations": None,
            "targets": ["Linear"],
            "weights": {
                "actorder": None,
                "block_structure": None,
                "dynamic": False,
                "group_size": 32,
                "num_bits": 4,
                "observer": "minmax",
                "observer_kwargs": {},
                "strategy": "group",
                "symmetric": True,
                "type": "int",
            },
        }
    },
}


def packed_int4(rows, columns, group, random):
    """(parts as safetensors have them, the numbers): compressed-tensors' layout written out number by number."""
    codes = random.integers(-8, 8, (rows, columns))
    scales = np.frombuffer(bf16(random.uniform(0.01, 0.02, (rows, columns // group))), BF16)
    words = np.zeros((rows, columns // 8), np.uint32)
    for column in range(columns):
        words[:, column // 8] |= (codes[:, column] + 8).astype(np.uint32) << np.uint32(4 * (column % 8))
    wide = (scales.astype(np.uint32) << 16).view(np.float32).reshape(rows, -1).repeat(group, axis=1)
    parts = {
        "_packed": ("I32", words.shape, words.tobytes()),
        "_scale": ("BF16", (rows, columns // group), scales.tobytes()),
        "_shape": ("I64", (2,), np.array([rows, columns]).tobytes()),
    }
    return parts, codes * wide


def in_int4(golden, tmp_path, group=32, **changes):
    """The golden with the matrices that groups of 32 fit (those from the residual stream) in 4 bits, and in F32."""
    random, in_groups, in_floats = np.random.default_rng(4), {}, {}
    for name, (kind, shape, content) in stored(golden).items():
        if not name.endswith("proj.weight") or shape[1] != 32:
            in_groups[name] = in_floats[name] = (kind, shape, content)
            continue
        parts, values = packed_int4(*shape, group, random)
        in_groups |= {name + part: each for part, each in parts.items()}
        in_floats[name] = ("F32", shape, values.astype(np.float32).tobytes())
    for name in ("int4", "plain"):
        (tmp_path / name).mkdir()
    quantised = folder_with(golden, tmp_path / "int4", in_groups, quantization_config=INT4 | changes)
    return quantised, folder_with(golden, tmp_path / "plain", in_floats)


@pytest.mark.parametrize("family", ["deepseek_v3", "deepseek_v3-gguf", "qwen2", "llama-yarn"])
def test_four_bits_in_groups_are_the_numbers_that_compressed_tensors_means(family, golden_of, tmp_path):
    quantised, plain = in_int4(golden_of(family), tmp_path)
    ids = golden_of(family).ids
    np.testing.assert_array_equal(logits(quantised, ids), logits(plain, ids))
    with open_checkpoint(quantised / "model.safetensors") as checkpoint:
        found, config = models.recognise(checkpoint)
        by_name = {each.name: each for each in found.parameters(config, checkpoint)}
        [gate, *_] = [each for name, each in by_name.items() if name.endswith("gate")]
        assert gate.encoding == "Q4_0"  # so that a packed file keeps it in 4 bits, as it is
        placed = packed.InMemory().place(gate)
        assert placed.layout == "Q4_0"
        parts = np.split(placed.data, placed.experts)
        rows = np.vstack([unpack("Q4_0", part, *gate.shape[-2:]) for part in parts])
        np.testing.assert_array_equal(rows, gate.decode().reshape(rows.shape))


def test_a_group_may_be_longer_and_numbers_stay_in_their_order():
    parts, values = packed_int4(5, 128, 64, np.random.default_rng(5))
    tensors = {
        f"a.weight{part}": Tensor(f"a.weight{part}", shape, kind, np.frombuffer(content, np.uint8))
        for part, (kind, shape, content) in parts.items()
    }
    [(name, source)] = matrices(tensors).items()
    assert (name, source.shape, source.encoding) == ("a.weight", (5, 128), "Q4_0")
    np.testing.assert_array_equal(source.whole().decode(), values.astype(np.float32))
    np.testing.assert_array_equal(source.take_rows(np.array([3, 1])).decode(), values[[3, 1]].astype(np.float32))
    turned = HeadsOf(source, 1, 1, 4, transposed=True).expert(0)
    assert turned.encoding == "F32"
    np.testing.assert_array_equal(turned.decode(), values[1:4].T.astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_bits": 8}, "num_bits"),
        ({"symmetric": False}, "symmetric"),
        ({"type": "float"}, "type"),
        ({"group_size": 24}, "group_size is 24"),
        ({"group_size": -1}, "group_size"),
        ({"strategy": "channel"}, "strategy"),
        ({"actorder": "group"}, "columns of a group"),
        ({"zero_point": 3}, "zero_point"),
    ],
)
def test_other_forms_of_compressed_tensors_are_refused_by_name(golden_of, tmp_path, changes, sentence):
    weights = INT4["config_groups"]["group_0"]["weights"] | changes
    group = INT4["config_groups"]["group_0"] | {"weights": weights}
    quantised, _ = in_int4(golden_of("qwen2"), tmp_path, config_groups={"group_0": group})
    with open_checkpoint(quantised / "model.safetensors") as checkpoint, pytest.raises(CheckpointError, match=sentence):
        models.recognise(checkpoint)


def test_four_bit_parts_that_do_not_fit_are_left_over_by_name(golden_of, tmp_path):
    quantised, _ = in_int4(golden_of("qwen2"), tmp_path)
    with open_checkpoint(quantised / "model.safetensors") as checkpoint:
        tensors = {name: (each.encoding, each.shape, each.data.tobytes()) for name, each in checkpoint.tensors.items()}
    del tensors["model.layers.0.mlp.up_proj.weight_scale"]
    (tmp_path / "broken").mkdir()
    broken = folder_with(golden_of("qwen2"), tmp_path / "broken", tensors, quantization_config=INT4)
    with (
        open_checkpoint(broken / "model.safetensors") as checkpoint,
        pytest.raises(CheckpointError, match=r"up_proj.weight'.*up_proj.weight_packed"),
    ):
        models.load(checkpoint, arithmetic.Ops())


@pytest.mark.parametrize("scale", [np.inf, np.nan, 1e38])
def test_a_four_bit_scale_that_float16_cannot_hold_is_refused_by_the_tensors_name(scale):
    parts, _ = packed_int4(2, 64, 32, np.random.default_rng(6))
    parts["_scale"] = ("BF16", (2, 2), bf16(np.full((2, 2), scale)))
    tensors = {
        f"a.weight{part}": Tensor(f"a.weight{part}", shape, kind, np.frombuffer(content, np.uint8))
        for part, (kind, shape, content) in parts.items()
    }
    [source] = matrices(tensors).values()
    with pytest.raises(CheckpointError, match=r"a\.weight_scale: a scale is beyond"):
        source.whole()


class Opened:
    """A GGUF golden with tensors and metadata that a test may change."""

    def __init__(self, golden):
        with open_checkpoint(golden.folder / "model.gguf") as checkpoint:
            self.path, self.folder, self.format = checkpoint.path, None, checkpoint.format
            self.metadata, self.tensors = dict(checkpoint.metadata), dict(checkpoint.tensors)

    def as_before_april_2025(self):
        """Keys and values whole again, of which the newer conversion was made."""
        said, heads = self.metadata, self.metadata["deepseek2.attention.head_count"]
        said["deepseek2.attention.head_count_kv"] = heads
        for what in ("key", "value"):
            said[f"deepseek2.attention.{what}_length"] = said.pop(f"deepseek2.attention.{what}_length_mla")
        for name in [name for name in self.tensors if name.endswith("attn_k_b.weight")]:
            key, value = (self.tensors.pop(name.replace("_k_b", f"_{part}_b")).decode() for part in "kv")
            whole = np.concatenate([key.swapaxes(1, 2), value], axis=1).reshape(-1, key.shape[1])
            data = np.frombuffer(bf16(whole), np.uint8)
            self.tensors[name.replace("_k_b", "_kv_b")] = Tensor(
                name.replace("_k_b", "_kv_b"), whole.shape, "BF16", data
            )
        return self


@pytest.mark.parametrize("name", ["deepseek_v3-gguf", "deepseek_v2"])
def test_both_conversions_of_llama_cpp_give_the_same_parameters(name, golden_of):
    new, old = Opened(golden_of(name)), Opened(golden_of(name)).as_before_april_2025()
    configs = [models.recognise(each)[1] for each in (new, old)]
    assert configs[0] == configs[1]
    for one, other in zip(parameters(configs[0], new), parameters(configs[1], old), strict=True):
        assert (one.name, one.shape, one.encoding) == (other.name, other.shape, other.encoding)
        np.testing.assert_array_equal(one.decode(), other.decode())


def test_quantised_keys_of_the_older_conversion_are_turned_round_exactly():
    random = np.random.default_rng(7)
    data = random.integers(0, 256, (2 * 3 * 34,)).astype(np.uint8)
    whole = Tensor("kv_b", (6, 32), "Q8_0", data)
    data.reshape(6, 34)[:, :2] = np.full((6, 1), 0.01, np.float16).view(np.uint8)
    turned = HeadsOf(whole, 2, 0, 2, transposed=True)
    assert (turned.shape, turned.encoding) == ((2, 32, 2), "F32")
    np.testing.assert_array_equal(turned.expert(1).decode(), whole.decode()[3:5].T)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"expert_gating_func": 3}, "expert_gating_func"),
        ({"expert_gating_func": None}, "expert_weights_norm"),  # not said: softmax
        ({"attention.head_count_kv": 5}, "head_count_kv"),
        ({"attention.key_length": 17}, "key_length"),
        ({"rope.scaling.yarn_log_multiplier": None}, "yarn_log_multiplier"),
        ({"rope.scaling.attn_factor": 2.0}, "attn_factor"),
        ({"expert_used_count": 8}, "cannot be chosen evenly"),
        ({"expert_shared_feed_forward_length": 11}, "expert_shared_feed_forward_length"),
        ({"nextn_predict_layers": 3}, "0 layers"),
        ({"something_new": 1}, "something_new"),
    ],
)
def test_what_a_gguf_file_says_otherwise_is_refused_by_name(golden_of, changes, sentence):
    opened = Opened(golden_of("deepseek_v3-gguf"))
    opened.metadata |= {f"deepseek2.{key}": value for key, value in changes.items()}
    with pytest.raises(CheckpointError, match=sentence):
        models.recognise(opened)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3}, "topk_method"),
        ({"routed_scaling_factor": 16.0}, "routed_scaling_factor"),
        ({"norm_topk_prob": True}, "norm_topk_prob"),
    ],
)
def test_deepseek_v2_itself_is_refused_for_how_it_chooses_experts(golden_of, tmp_path, changes, sentence):
    folder = folder_with(golden_of("deepseek_v2"), tmp_path, stored(golden_of("deepseek_v2")), **changes)
    with open_checkpoint(folder / "model.safetensors") as checkpoint, pytest.raises(CheckpointError, match=sentence):
        models.recognise(checkpoint)


def test_layers_that_predict_further_tokens_are_left_out(golden_of, tmp_path):
    golden, tensors = golden_of("deepseek_v3"), stored(golden_of("deepseek_v3"))
    tensors["model.layers.3.eh_proj.weight"] = ("F32", (2,), bytes(8))
    folder = folder_with(golden, tmp_path, tensors, num_nextn_predict_layers=1)
    np.testing.assert_array_equal(logits(folder, golden.ids), logits(golden.folder, golden.ids))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"topk_method": "greedy"}, "topk_method"),
        ({"scoring_func": "softmax"}, "scoring_func"),
        ({"n_group": 4}, "cannot be chosen evenly"),
        ({"num_experts_per_tok": 7}, "cannot be chosen evenly"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}}, "weight_block_size"),
        ({"moe_layer_freq": 2}, "moe_layer_freq"),
        ({"something_new": 1}, "something_new"),
    ],
)
def test_what_would_compute_something_else_is_refused_by_name(golden_of, tmp_path, changes, sentence):
    folder = folder_with(golden_of("deepseek_v3"), tmp_path, stored(golden_of("deepseek_v3")), **changes)
    with open_checkpoint(folder / "model.safetensors") as checkpoint, pytest.raises(CheckpointError, match=sentence):
        models.recognise(checkpoint)


def test_an_expert_that_is_missing_is_named(golden_of, tmp_path):
    tensors = stored(golden_of("deepseek_v3"))
    del tensors["model.layers.1.mlp.experts.4.up_proj.weight"]
    folder = folder_with(golden_of("deepseek_v3"), tmp_path, tensors)
    with (
        open_checkpoint(folder / "model.safetensors") as checkpoint,
        pytest.raises(CheckpointError, match=r"1 tensors missing .*layers.1.mlp.experts.up"),
    ):
        models.load(checkpoint, arithmetic.Ops())
