"""Adapters in PEFT's files: written and read again, and what is refused. What peft itself computes from them:
tests/references/adapters."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ouvert.arithmetic import LowRank
from ouvert.models import Counterpart, Part, counterparts
from ouvert.packed import Adapter
from ouvert.packed.adapters import AdapterError, read_peft, write_peft
from ouvert.packed.adapters.peft_experts import Factors, turned
from ouvert.packed.adapters.peft_settings import PeftSettings
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint

CASES = [
    "deepseek_v2", "deepseek_v3", "gpt_oss", "gpt_oss-mxfp4", "llama", "mistral", "mixtral", "qwen2", "qwen3",
    "qwen3_moe",
]  # fmt: skip
WEIGHTS = "adapter_model.safetensors"
Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def llama(open_tiny, make_adapter, tmp_path):
    """(files, their adapter), which lies in tmp_path."""
    files = open_tiny("llama")
    adapter = make_adapter(files, ranks=(3,))
    write_peft(adapter, tmp_path, files, base="somebody/llama")
    return files, adapter


def settings_in(folder, **changes):
    """Change adapter_config.json."""
    path = folder / "adapter_config.json"
    said = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in said.items() if value != "left out"}))


def tensors_in(folder):
    with open_checkpoint(folder / WEIGHTS) as checkpoint:
        return {f"base_model.model.{name}": each.decode() for name, each in checkpoint.tensors.items()}


def put(folder, tensors, encoding="F32", metadata=None):
    """Write these as the adapter's weights."""
    (folder / WEIGHTS).unlink(missing_ok=True)
    with SafetensorsWriter(
        folder / WEIGHTS, {name: (encoding, each.shape) for name, each in tensors.items()}, metadata
    ) as writer:
        for name, each in tensors.items():
            writer.write(name, each)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("program", ["transformers", "llama.cpp"])
def test_every_weight_that_may_carry_an_adapter_has_a_counterpart(case, program, open_tiny, adaptable_names):
    files = open_tiny(case)
    matrices = counterparts(files.family, files.config, program)
    parts = [part.ours for each in matrices for part in each.parts]
    assert set(parts) == adaptable_names(files)
    assert len(parts) == len(set(parts))
    for each in matrices:  # whole: what is not ours of a row would be lost
        assert sorted(np.concatenate([part.rows for part in each.parts])) == list(range(each.outputs))


def test_models_with_a_state_have_none(open_tiny):
    files = open_tiny("mamba")
    assert counterparts(files.family, files.config, "transformers") == []


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_as_the_same_adapter(case, open_tiny, make_adapter, tmp_path):
    files = open_tiny(case)
    adapter = make_adapter(files, scales=(1.25,))
    write_peft(adapter, tmp_path, files)
    assert read_peft(tmp_path, files).digest == adapter.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", WEIGHTS]


@pytest.mark.parametrize("rank", [1, 3, 7, 12, 16])
@pytest.mark.parametrize("alpha", [1, 0.1, 24, 32])
@pytest.mark.parametrize("root", [False, True])
def test_scales_come_back_bit_for_bit(rank, alpha, root, open_tiny, make_adapter, tmp_path):
    files = open_tiny("llama")
    scale = alpha / (rank**0.5 if root else rank)
    adapter = make_adapter(files, ranks=(rank,), scales=(scale,))
    write_peft(adapter, tmp_path, files)
    assert read_peft(tmp_path, files).digest == adapter.digest


@pytest.mark.parametrize("case", ["gpt_oss", "mixtral", "qwen3_moe", "deepseek_v3"])
def test_an_untrained_part_comes_back_as_it_was(case, open_tiny, make_adapter, tmp_path):
    """gate and up lie in one matrix: whose a rank is cannot be seen where b is zero. Our note in the file says it."""
    files = open_tiny(case)
    pairs = dict(make_adapter(files).pairs)
    for name in [name for name in pairs if name.endswith((".gate", ".query_rope"))]:
        pairs[name] = replace(pairs[name], b=np.zeros_like(pairs[name].b))
    adapter = Adapter(pairs)
    write_peft(adapter, tmp_path, files)
    assert read_peft(tmp_path, files).digest == adapter.digest


@pytest.mark.parametrize("case", ["gpt_oss", "mixtral"])
def test_parts_with_one_a_share_their_ranks(case, open_tiny, make_adapter, tmp_path):
    """As PEFT trains them: one lora_A for gate and up."""
    files = open_tiny(case)
    pairs = dict(make_adapter(files, ranks=(2,)).pairs)
    for name in [name for name in pairs if name.endswith(".up")]:
        pairs[name] = replace(pairs[name], a=pairs[name.replace(".up", ".gate")].a)
    adapter = Adapter(pairs)
    write_peft(adapter, tmp_path, files)
    assert read_peft(tmp_path, files).digest == adapter.digest
    assert json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"] == {}  # 2 of all, not 4 of some


def test_parts_with_two_scales_compute_the_same(open_tiny, make_adapter, tmp_path):
    """An addition has one scale: b carries the rest. Powers of two are exact."""
    files = open_tiny("gpt_oss")
    adapter = make_adapter(files, ranks=(2,), scales=(1.0, 2.0))
    write_peft(adapter, tmp_path, files)
    again = read_peft(tmp_path, files)
    for name, pair in adapter.pairs.items():
        found = again.pairs[name]
        np.testing.assert_array_equal(pair.scale * (pair.b @ pair.a), found.scale * (found.b @ found.a), name)


@pytest.mark.parametrize("kept", ["gate", "up", "down"])
def test_a_part_alone_comes_back_alone(kept, open_tiny, make_adapter, tmp_path):
    """One parameter of two: its wrapper has the name that the other's would have."""
    files = open_tiny("mixtral")
    pairs = {name: pair for name, pair in make_adapter(files).pairs.items() if name.endswith(f".{kept}")}
    write_peft(Adapter(pairs), tmp_path, files)
    assert read_peft(tmp_path, files).digest == Adapter(pairs).digest


def test_only_some_layers_come_back(open_tiny, make_adapter, tmp_path):
    files = open_tiny("qwen3_moe")
    pairs = {
        name: pair for name, pair in make_adapter(files).pairs.items() if name.startswith(("layers.1.", "layers.2."))
    }
    write_peft(Adapter(pairs), tmp_path, files)
    assert read_peft(tmp_path, files).digest == Adapter(pairs).digest


def test_experts_as_unsloth_packs_them(open_tiny, make_adapter, tmp_path):
    """The same names and shapes with the columns of lora_B in another order: told apart by what the files say, or asked
    for, or refused."""
    files = open_tiny("mixtral")
    adapter = make_adapter(files, ranks=(3,))
    write_peft(adapter, tmp_path, files)
    with open_checkpoint(tmp_path / WEIGHTS) as checkpoint:
        metadata = dict(checkpoint.metadata)
    tensors = tensors_in(tmp_path)
    for name, b in tensors.items():
        if "experts" in name and "lora_B" in name:
            tensors[name] = b.reshape(len(b), -1, 5).swapaxes(1, 2).reshape(b.shape).copy()
    put(tmp_path, tensors, metadata=metadata)
    assert read_peft(tmp_path, files, expert_layout="unsloth").digest == adapter.digest
    settings_in(tmp_path, lora_B_layout="grouped_by_expert")
    assert read_peft(tmp_path, files).digest == adapter.digest
    with pytest.raises(AdapterError, match=r"layout 'unsloth', and 'peft' was asked for"):
        read_peft(tmp_path, files, expert_layout="peft")
    settings_in(tmp_path, lora_B_layout="left out", auto_mapping={"unsloth_fixed": True})
    with pytest.raises(AdapterError, match=r"not how their factors lie.*--expert-layout unsloth"):
        read_peft(tmp_path, files)
    assert read_peft(tmp_path, files, expert_layout="unsloth").digest == adapter.digest
    settings_in(tmp_path, lora_B_layout="sideways")
    with pytest.raises(AdapterError, match=r"'sideways', expected rank_major or grouped_by_expert"):
        read_peft(tmp_path, files)


def test_experts_of_gpt_oss_in_a_list_are_read(open_tiny, make_adapter, tmp_path):
    """As Unsloth has them in 4 bits: a linear layer for each expert, gate and up in turn."""
    files = open_tiny("gpt_oss")
    adapter = make_adapter(files, ranks=(3,))
    names = {
        "gate_up_projs": "model.layers.1.mlp.experts.gate_up_proj",
        "down_projs": "model.layers.1.mlp.experts.down_proj",
    }
    known = {each.name: each for each in counterparts(files.family, files.config, "transformers")}
    tensors, wanted = {}, {}
    for last, name in names.items():
        matrix, e = known[name], 2
        for part in matrix.parts:
            pair = adapter.pairs[part.ours]
            a, b = adapter.pairs["layers.1.gate"].a[1] if len(matrix.parts) > 1 else pair.a[1], pair.b[1]
            wanted[part.ours] = LowRank(a[None], b[None], 4 / 3, (e,))
            stem = f"base_model.model.model.layers.1.mlp.experts.{last}.{e}"
            tensors[f"{stem}.lora_A.weight"] = a
            whole = tensors.setdefault(f"{stem}.lora_B.weight", np.zeros((matrix.outputs, 3), np.float32))
            whole[part.rows] = b
    put(tmp_path, tensors)
    said = {"peft_type": "LORA", "r": 3, "lora_alpha": 4, "target_modules": [f"{each}.2" for each in names]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    assert read_peft(tmp_path, files).digest == Adapter(wanted).digest
    tensors = {name.replace("projs.2.", "projs.5."): each for name, each in tensors.items()}
    put(tmp_path, tensors)
    settings_in(tmp_path, target_modules=[f"{each}.5" for each in names])
    with pytest.raises(AdapterError, match=r"numbers up to 5; .* of 5 experts"):
        read_peft(tmp_path, files)


def test_an_expert_layout_without_joined_experts_is_refused(llama, tmp_path):
    with pytest.raises(AdapterError, match=r"no joined experts"):
        read_peft(tmp_path, llama[0], expert_layout="peft")


@pytest.mark.parametrize("version", ["0.18.1", "0.19.0"])
def test_experts_that_older_versions_of_peft_stood_the_other_way_are_turned(version, open_tiny, make_adapter, tmp_path):
    files = open_tiny("mixtral")
    adapter = make_adapter(files, ranks=(3,))
    write_peft(adapter, tmp_path, files)
    tensors = tensors_in(tmp_path)
    experts = 5
    for stem in {name.rpartition(".lora_")[0] for name in tensors if "experts" in name}:
        a, b = tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"]
        each_a, each_b = a.reshape(experts, -1, a.shape[1]), b.reshape(len(b), -1, experts).transpose(2, 1, 0)
        tensors[f"{stem}.lora_A.weight"] = each_b.reshape(a.shape[0], len(b)).copy()
        tensors[f"{stem}.lora_B.weight"] = each_a.transpose(2, 1, 0).reshape(a.shape[1], -1).copy()
    put(tmp_path, tensors)
    settings_in(tmp_path, peft_version=version)
    found = read_peft(tmp_path, files)
    for name, pair in adapter.pairs.items():
        again = found.pairs[name]
        np.testing.assert_allclose(again.scale * (again.b @ again.a), pair.scale * (pair.b @ pair.a), atol=1e-6)


def test_square_experts_of_an_unknown_version_are_refused():
    square = Counterpart("model.layers.0.mlp.experts.down_proj", (Part("layers.0.down", np.arange(4)),), 4, 4, 2)
    found = [(square, Factors("", np.ones((2, 4)), np.ones((4, 2))))]

    def way(version, transposed):
        return turned(found, PeftSettings(Path("a/b"), {"peft_version": version}), transposed)

    assert [way("0.18.1", each) for each in (False, True)] == [True, False]
    assert [way("0.19.1", each) for each in (False, True)] == [False, False]
    assert way(None, True) is False
    for version, transposed in ((None, False), ("0.19.0", True), ("0.19.0", False)):
        with pytest.raises(AdapterError, match=r"inputs and outputs are as many"):
            way(version, transposed)


def test_another_models_adapter_is_refused_with_both_sizes(llama, open_tiny, tmp_path):
    with pytest.raises(AdapterError, match=r"24 rows and 30 columns; this model's has 16 and 30.*somebody/llama"):
        read_peft(tmp_path, open_tiny("mistral"))
    with pytest.raises(AdapterError, match=r"48 rows and 30 columns; this model's has 60 and 30"):
        read_peft(tmp_path, open_tiny("qwen3"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, r"use_dora is True: DoRA.*Merge it into its base"),
        ({"bias": "all"}, r"bias is 'all': biases"),
        ({"lora_bias": True}, r"lora_bias is True"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is .*whole layers"),
        ({"trainable_token_indices": [1]}, r"trainable_token_indices"),
        ({"layer_replication": [[0, 1]]}, r"layer_replication"),
        ({"alora_invocation_tokens": [1, 2]}, r"alora_invocation_tokens.*plain LoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, r"'pissa_niter_4'.*path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "loftq"}, r"'loftq'"),
        ({"peft_type": "LOHA"}, r"peft_type is 'LOHA', expected 'LORA'"),
        ({"something_new": 3}, r"'something_new' is not known"),
        ({"r": 4}, r"rank 3 in .* and 4 in"),
        ({"r": 0}, r"r is 0, expected a whole number"),
        ({"r": True}, r"r is True"),
        ({"lora_alpha": "16"}, r"lora_alpha is '16', expected a number"),
        ({"lora_alpha": "left out"}, r"lora_alpha is None"),
        ({"lora_alpha": float("nan")}, r"lora_alpha is nan"),
        ({"lora_alpha": 10**400}, r"lora_alpha is 1000"),
        ({"rank_pattern": {"(?i)q_proj": 16}}, r"rank_pattern is .*expected ranks by patterns of names"),
        ({"base_model_name_or_path": "\ud800smollm2"}, r"reading the adapter's settings .*surrogates not allowed"),
        ({"exclude_modules": [1, None]}, r"exclude_modules is \[1, None\], expected a list of names, or a pattern"),
        ({"layers_to_transform": {"a": 1}}, r"layers_to_transform is .*expected a layer's number"),
        ({"layers_to_transform": True}, r"layers_to_transform is True, expected a layer's number"),
        ({"rank_pattern": {"(a+)+$": 3}}, r"rank_pattern is .*expected ranks by patterns"),
        ({"rank_pattern": {"[": 3}}, r"rank_pattern is"),
        ({"rank_pattern": {"r_proj": 3}}, r"fit no tensor .*rank_pattern: 'r_proj'"),
        ({"alpha_pattern": {"layers.9.*": 3}}, r"alpha_pattern: 'layers.9"),
        ({"target_modules": ["q_proj", "qkv_proj"]}, r"target_modules: 'qkv_proj'"),
        ({"target_modules": 5}, r"target_modules is 5"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, r"target_parameters: 'mlp.experts"),
    ],
)
def test_settings_that_are_not_honoured_are_refused_by_name(changes, message, llama, tmp_path):
    settings_in(tmp_path, **changes)
    with pytest.raises(AdapterError, match=message):
        read_peft(tmp_path, llama[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_dropout": 0.1},
        {"inference_mode": False, "revision": "main", "task_type": None},
        {"something_new": None, "something_else": False},
        {"target_modules": r".*\.(q|k|v|o|gate|up|down)_proj"},
        {"init_lora_weights": "gaussian"},
        {"peft_version": "left out"},
    ],
)
def test_settings_that_change_nothing_are_read(changes, llama, tmp_path):
    settings_in(tmp_path, **changes)
    assert read_peft(tmp_path, llama[0]).digest == llama[1].digest


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a": ' * 100_000, "\xff"])
def test_settings_that_are_no_object_are_refused(text, llama, tmp_path):
    (tmp_path / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AdapterError, match=r"adapter_config.json"):
        read_peft(tmp_path, llama[0])


def test_settings_that_are_not_there_or_a_link_are_refused(llama, tmp_path):
    path = tmp_path / "adapter_config.json"
    path.rename(tmp_path / "other.json")
    with pytest.raises(AdapterError, match=r"No such file"):
        read_peft(tmp_path, llama[0])
    path.symlink_to(tmp_path / "other.json")
    with pytest.raises(AdapterError, match=r"a link stands where a file should"):
        read_peft(tmp_path, llama[0])


def without(name):
    return lambda tensors: {key: each for key, each in tensors.items() if key != name}


def having(**more):
    return lambda tensors: tensors | {name.replace("__", "."): each for name, each in more.items()}


def changed(name, how):
    return lambda tensors: tensors | {name: how(tensors[name])}


ONES = np.ones((3, 30), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(f"{Q}.lora_A.weight"), r"q_proj has a factor B and not the other"),
        (lambda tensors: {k: v for k, v in tensors.items() if Q not in k}, r"not in it \(first: .*0.self_attn.q"),
        (changed(f"{Q}.lora_A.weight", lambda a: a[:2]), r"lora_A is \(2, 30\) and lora_B \(48, 3\)"),
        (changed(f"{Q}.lora_A.weight", lambda a: a[:, :0]), r"lora_A is \(3, 0\)"),
        (changed(f"{Q}.lora_A.weight", lambda a: a[0]), r"F32\(30,\), expected a matrix"),
        (changed(f"{Q}.lora_A.weight", lambda a: a * np.float32(np.nan)), r"infinite or none"),
        (changed(f"{Q}.lora_B.weight", lambda b: b * np.float32(np.inf)), r"infinite or none"),
        (having(base_model__model__lm_head__lora_A__weight=ONES, base_model__model__lm_head__lora_B__weight=ONES.T + 0),
         r"adapts model.lm_head, which carries no adapter"),
        (having(base_model__model__model__layers__0__mlp__gate__weight=ONES), r"no factor of an adapter"),
        (having(base_model__model__model__embed_tokens__lora_embedding_A=ONES), r"factor of the embedding"),
        (having(**{f"{Q}.lora_magnitude_vector.weight": ONES}), r"vector of a DoRA"),
        (having(**{"base_model.model.../../etc/passwd.lora_A.weight": ONES,
                   "base_model.model.../../etc/passwd.lora_B.weight": ONES.T.copy()}), r"which llama does not have"),
        (lambda tensors: {}, r"no tensor in it"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused_by_name(change, message, llama, tmp_path):
    put(tmp_path, change(tensors_in(tmp_path)))
    with pytest.raises(AdapterError, match=message):
        read_peft(tmp_path, llama[0])


def test_whole_numbers_are_no_factors(llama, tmp_path):
    put(tmp_path, {name: np.ones(each.shape, np.int32) for name, each in tensors_in(tmp_path).items()}, "I32")
    with pytest.raises(AdapterError, match=r"I32\(.*expected a matrix in F32, BF16, F16"):
        read_peft(tmp_path, llama[0])


@pytest.mark.parametrize(("encoding", "kind"), [("F16", np.float16), ("BF16", np.uint16)])
def test_sixteen_bits_are_read(encoding, kind, llama, tmp_path):
    def in_sixteen(values):
        return values.astype(kind) if encoding == "F16" else (values.view(np.uint32) >> 16).astype(np.uint16)

    put(tmp_path, {name: in_sixteen(each) for name, each in tensors_in(tmp_path).items()}, encoding)
    found = read_peft(tmp_path, llama[0])
    for name, pair in llama[1].pairs.items():
        np.testing.assert_allclose(found.pairs[name].a, pair.a, rtol=2**-7)


def test_a_file_that_is_cut_off_or_lies_about_its_size_is_refused(llama, tmp_path):
    whole = (tmp_path / WEIGHTS).read_bytes()
    for end in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / WEIGHTS).write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            read_peft(tmp_path, llama[0])
    header = {f"{Q}.lora_A.weight": {"dtype": "F32", "shape": [1 << 40, 1 << 19], "data_offsets": [0, 1 << 61]}}
    text = json.dumps(header).encode()
    (tmp_path / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(CheckpointError):
        read_peft(tmp_path, llama[0])


def test_more_numbers_than_an_adapter_has_are_not_read(llama, tmp_path):
    many = np.zeros((1 << 11, 1 << 10), np.float16)
    put(tmp_path, {f"{Q}.lora_A.weight": many}, "F16")
    with pytest.raises(AdapterError, match=r"holds 2,097,152 numbers, more than an adapter of this model"):
        read_peft(tmp_path, llama[0])


def test_a_pickle_is_not_opened(llama, tmp_path):
    (tmp_path / WEIGHTS).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"only adapter_model.bin is there, a pickle, which may run code"):
        read_peft(tmp_path, llama[0])


def test_a_note_of_ranks_that_does_not_fit_the_numbers_is_refused(open_tiny, make_adapter, tmp_path):
    files = open_tiny("gpt_oss")
    write_peft(make_adapter(files, ranks=(3,)), tmp_path, files)
    tensors = tensors_in(tmp_path)
    wrong = {"model.layers.0.mlp.experts.gate_up_proj": {"layers.0.gate": 2, "layers.0.up": 4}}
    for note, message in ((json.dumps(wrong), r"said to have the ranks 0 to 2 of 6"), ("[3]", r"ouvert.ranks")):
        put(tmp_path, tensors, metadata={"ouvert.ranks": note})
        with pytest.raises(AdapterError, match=message):
            read_peft(tmp_path, files)


def test_an_adapter_of_other_weights_is_not_written(open_tiny, make_adapter, tmp_path):
    files = open_tiny("llama")
    other = make_adapter(open_tiny("mistral"))
    with pytest.raises(AdapterError, match=r"the model has \(24, 30\)"):
        write_peft(other, tmp_path, files)
    pair = LowRank(np.ones((1, 30), np.float32), np.ones((64, 1), np.float32), 1.0)
    with pytest.raises(AdapterError, match=r"'unembedding', which llama does not have"):
        write_peft(Adapter({"unembedding": pair}), tmp_path, files)
    assert not list(tmp_path.iterdir())


def test_a_setting_that_is_there_twice_is_refused(llama, tmp_path):
    path = tmp_path / "adapter_config.json"
    path.write_text('{"lora_alpha": 32, ' + path.read_text().lstrip().removeprefix("{"))
    with pytest.raises(AdapterError, match=r"the key 'lora_alpha' is there twice"):
        read_peft(tmp_path, llama[0])
