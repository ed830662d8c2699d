"""Adapters to peft and from it: on transformers' models it computes what we do, and what it makes is read."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file

from ouvert.models import counterparts
from ouvert.packed.adapters import AdapterError, read_peft, write_peft

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # peft asks for it
    pytest.mark.filterwarnings("ignore:.* changes the base weights:UserWarning"),  # it is converted: that is the point
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),  # peft looks among modules only
]
# Attention and feed-forward layers, and what else peft must be told to reach the experts.
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
CASES = {
    "llama": (["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"], None),
    "qwen2": (ATTENTION, None),
    "qwen3": ([*ATTENTION, "down_proj"], None),
    "mixtral": (ATTENTION, EXPERTS),
    "qwen3_moe": (ATTENTION, EXPERTS),
    "gpt_oss": (ATTENTION, EXPERTS),
    "deepseek_v3": (["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"], EXPERTS),
}
SEPARATE = {
    "mixtral": ("block_sparse_moe", ("w1", "w3", "w2")),
    "qwen3_moe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
}
# float32 in another order, through a few layers: measured at 4e-6 of the largest logit. The adapters change a third of
# it and more.
CLOSE, CHANGED = 2e-5, 0.3


def distance(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("case", CASES)
def test_peft_computes_from_our_files_what_we_do(case, open_tiny, make_adapter, ours, theirs, with_peft, tmp_path):
    files = open_tiny(case)
    adapter = make_adapter(files, scales=(1.25, 0.5))
    write_peft(adapter, tmp_path, files)
    adapted = ours(files, adapter)
    assert distance(ours(files, None), adapted) > CHANGED
    model = with_peft(case, tmp_path)
    assert distance(theirs(model), adapted) < CLOSE
    model.save_pretrained(tmp_path / "again")  # without our note of whose ranks they are
    again = read_peft(tmp_path / "again", files)
    assert distance(ours(files, again), adapted) < CLOSE


@pytest.mark.parametrize("case", CASES)
def test_what_peft_saves_again_is_the_same_adapter(case, open_tiny, make_adapter, with_peft, tmp_path):
    files = open_tiny(case)
    adapter = make_adapter(files)
    write_peft(adapter, tmp_path, files)
    with_peft(case, tmp_path).save_pretrained(tmp_path / "again")
    assert read_peft(tmp_path / "again", files).digest == adapter.digest


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stabilised", [False, True])
def test_an_adapter_that_peft_made_gives_its_logits(
    case, stabilised, open_tiny, transformers_model, ours, theirs, tmp_path
):
    modules, parameters = CASES[case]
    torch.manual_seed(7)
    config = LoraConfig(
        r=3,
        lora_alpha=4,
        target_modules=modules,
        target_parameters=parameters,
        rank_pattern={"layers.0.*o_proj" if "o_proj" in modules else "layers.0.*v_proj": 5},
        use_rslora=stabilised,
        init_lora_weights=False,
    )
    model = get_peft_model(transformers_model(case), config)
    model.save_pretrained(tmp_path)
    files = open_tiny(case)
    adapter = read_peft(tmp_path, files)
    assert distance(ours(files, None), theirs(model)) > 0.01
    assert distance(ours(files, adapter), theirs(model)) < CLOSE
    if parameters:
        wrong = read_peft(tmp_path, files, expert_layout="unsloth")
        assert distance(ours(files, wrong), theirs(model)) > 10 * CLOSE


@pytest.mark.parametrize("case", ["mixtral", "qwen3_moe"])
def test_experts_of_their_own_are_read_as_peft_reads_them(case, open_tiny, ours, theirs, with_peft, tmp_path):
    """As adapters were saved with transformers 4, one linear layer for each expert."""
    files = open_tiny(case)
    random, tensors = np.random.default_rng(11), {}
    names = {
        "mixtral": ("block_sparse_moe", ("w1", "w3", "w2")),
        "qwen3_moe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
    }
    inside, layers = names[case]

    for matrix in counterparts(files.family, files.config, "transformers"):
        if matrix.experts is None:
            continue
        n = matrix.name.split(".")[2]
        for part in matrix.parts:
            last = layers[("gate", "up", "down").index(part.ours.rpartition(".")[2])]
            for e in range(matrix.experts):
                stem = f"base_model.model.model.layers.{n}.{inside}.experts.{e}.{last}"
                tensors[f"{stem}.lora_A.weight"] = random.standard_normal((2, matrix.inputs), np.float32)
                tensors[f"{stem}.lora_B.weight"] = random.standard_normal((len(part.rows), 2), np.float32)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 1, "target_modules": list(layers), "task_type": "CAUSAL_LM"}
    if case == "qwen3_moe":  # its layers without experts have linear layers of the same names: leave these alone
        said["layers_to_transform"] = [
            int(name.split(".")[4]) for name in tensors if ".experts.0.up_proj.lora_A" in name
        ]
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    adapter = read_peft(tmp_path, files)
    model = with_peft(case, tmp_path)
    assert distance(ours(files, None), theirs(model)) > 0.01
    assert distance(ours(files, adapter), theirs(model)) < CLOSE


def test_a_forgotten_alpha_is_noticed(open_tiny, make_adapter, ours, theirs, with_peft, tmp_path):
    files = open_tiny("llama")
    adapter = make_adapter(files)
    write_peft(adapter, tmp_path, files)
    path = tmp_path / "adapter_config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"lora_alpha": said["r"], "alpha_pattern": said["rank_pattern"]}))
    assert distance(theirs(with_peft("llama", tmp_path)), ours(files, adapter)) > 100 * CLOSE


@pytest.mark.parametrize("beginning", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_is_refused_and_taken_once_converted(
    beginning, open_tiny, transformers_model, ours, theirs, tmp_path
):
    torch.manual_seed(7)
    model = get_peft_model(
        transformers_model("llama"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=beginning)
    )
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "first")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    model.peft_config["default"].init_lora_weights = beginning
    model.save_pretrained(tmp_path / "last")
    files = open_tiny("llama")
    with pytest.raises(AdapterError, match=rf"init_lora_weights is '{beginning}'.*path_initial_model"):
        read_peft(tmp_path / "last", files)
    wanted = theirs(model)
    model.save_pretrained(tmp_path / "converted", path_initial_model_for_weight_conversion=str(tmp_path / "first"))
    assert distance(ours(files, read_peft(tmp_path / "converted", files)), wanted) < 5 * CLOSE
