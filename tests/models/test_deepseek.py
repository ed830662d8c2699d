"""What DeepSeek-V3's checkpoints brought: FP8 blocks (others have them too), further layers, faults that are named."""

import json

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.models import CheckpointError
from ouvert.models.sources import Fp8Blocks, HeadsOf
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
