"""Tiny models with packed weights and an adapter, and transformers with peft on the numbers that were packed."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel

from ouvert import kernels, packed, tuning
from ouvert.chat import Language
from ouvert.models import adaptable, counterparts
from ouvert.packed.adapters import write_peft
from ouvert.packed.adapters.joining import joined
from ouvert.packed.adapters.peft_writing import named
from ouvert.tuning.recipe import AdapterShape

SEED = 7
LENGTHS = (24, 3, 17)
WINDOW = 5


def heads(query, key, head_dim):
    return {"num_attention_heads": query, "num_key_value_heads": key, "head_dim": head_dim}


# Columns in whole blocks, so that weights can be packed in few bits: (kind of configuration, values, layout).
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", heads(4, 2, 16), "Q4_1"),
    "qwen2": (
        "Qwen2Config",
        {"num_attention_heads": 4, "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": WINDOW}
        | {"max_window_layers": 1},
        "Q5_1",
    ),
    "qwen3": ("Qwen3Config", heads(4, 1, 32), "Q8_0"),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        heads(4, 2, 16) | {"moe_intermediate_size": 32, "num_experts": 7, "num_experts_per_tok": 3}
        | {"decoder_sparse_step": 2, "norm_topk_prob": True},
        "Q4_1",
    ),
    "mixtral": (
        "MixtralConfig",
        heads(4, 2, 16) | {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": WINDOW},
        "Q8_0",
    ),
    "gpt_oss": (
        "GptOssConfig",
        heads(6, 3, 16) | {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": WINDOW}
        | {"layer_types": ["sliding_attention", "full_attention"]},
        "Q4_1",
    ),
    "deepseek_v3": (
        "DeepseekV3Config",
        {"num_hidden_layers": 3, "first_k_dense_replace": 1, "num_attention_heads": 4, "num_key_value_heads": 4}
        | {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 16}
        | {"n_routed_experts": 9, "num_experts_per_tok": 3, "n_shared_experts": 2, "moe_intermediate_size": 32}
        | {"n_group": 3, "topk_group": 2, "routed_scaling_factor": 1.5, "num_mtp_layers": 0},
        "Q4_1",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A tiny model on disk, its weights packed in few bits, an adapter none of whose numbers is nought, and peft's."""

    files: packed.ModelFiles
    base: tuning.Base
    adapter: packed.Adapter
    theirs: Any  # PeftModel
    sequences: list[np.ndarray]


def layout_of(parameter, layout, names):
    if parameter.name in names and parameter.encoding != "MXFP4":
        return packed.Placement(parameter.shape, layout)
    return packed.placements([parameter])[parameter.name]


def base_of(files, layout, *, exact, threads=2):
    """The model in this process, adaptable weights in this layout (MXFP4 where they came so)."""
    names = adaptable(files.place(packed.InMemory()).model)
    placements = {each.name: layout_of(each, layout, names) for each in files.parameters if each.same_as is None}
    placed = files.place(packed.InMemory(1, placements))
    return tuning.Base(
        name=files.family.name, model=placed.model, threads=threads, exact=exact, context=files.trained_context,
        programs=kernels.Programs(placed.model, threads=threads, exact=exact, cache="f32" if exact else "f16"),
        weights_digest="sha256:0", language=Language("tiny", files.family.name, files.metadata, files.folder),
        placed=placed,
    )  # fmt: skip


def numbers_of(weight):
    """float32 (out, in), or (experts, out, in), of a packed weight."""
    size = len(weight.data) // weight.experts
    each = [weight.data[n * size : (n + 1) * size] for n in range(weight.experts)]
    found = [kernels.unpack(weight.layout, data, weight.rows, weight.columns) for data in each]
    return np.stack(found) if weight.experts > 1 else found[0]


def give_weights(theirs, model):
    """transformers' matrices get the numbers that ours were packed to."""
    ours, parameters = adaptable(model), dict(theirs.named_parameters())
    with torch.no_grad():
        for matrix in counterparts(model.family, model.config, "transformers"):
            target = parameters[matrix.name if matrix.experts else f"{matrix.name}.weight"]
            whole = target if target.shape[-1] == matrix.inputs else target.transpose(-1, -2)
            assert tuple(whole.shape[-2:]) == (matrix.outputs, matrix.inputs)
            for part in matrix.parts:
                whole[..., torch.from_numpy(part.rows), :] = torch.from_numpy(numbers_of(ours[part.ours]))


@pytest.fixture(scope="session")
def base_with():
    return base_of


@pytest.fixture(scope="session")
def subjects(make_models, tmp_path_factory):
    """subjects(case, exact): made once."""
    made = {}

    def subject(case, exact=True):
        if (case, exact) not in made:
            made[case, exact] = make(case, exact)
        return made[case, exact]

    def make(case, exact):
        kind, values, layout = CASES[case]
        small = make_models.SMALL | {"hidden_size": 64, "intermediate_size": 96, "rope_parameters": make_models.DEFAULT}
        config = getattr(transformers, kind)(**small | {"tie_word_embeddings": False} | values)
        folder = tmp_path_factory.mktemp(case)
        make_models.draw(config, SEED).save_pretrained(folder)
        files = packed.open_model(folder)
        base = base_of(files, layout, exact=exact)
        adapter = adapter_for(base.model)
        theirs = make_models.open_model(folder)
        give_weights(theirs, base.model)
        write_peft(adapter, folder, files)
        with_adapter = PeftModel.from_pretrained(theirs, folder, is_trainable=True).eval()
        random = np.random.default_rng(SEED)
        sequences = [random.integers(0, config.vocab_size, length, dtype=np.int32) for length in LENGTHS]
        return Subject(files, base, adapter, with_adapter, sequences)

    yield subject
    for each in made.values():
        each.base.close()
        each.files.close()


def adapter_for(model):
    """Rank 3, of all experts but the first, whom nobody is said to have chosen; none of its numbers nought."""
    routed = {n: np.arange(experts_of(model, n)) for n in range(len(model.parameters.layers))}
    adapter = tuning.new_adapter(
        model, AdapterShape(rank=3, alpha=2, experts="busiest 1.0", expert_rank=3), SEED, routed
    )
    random = np.random.default_rng(SEED)
    pairs = {
        name: replace(pair, b=random.normal(0, 0.3 / math.sqrt(pair.rank), pair.b.shape).astype(np.float32))
        for name, pair in adapter.pairs.items()
    }
    return packed.Adapter(pairs)


def experts_of(model, n):
    experts = getattr(model.parameters.layers[n], "experts", None)
    return 0 if experts is None else experts.gate.experts


@pytest.fixture(scope="session")
def their_gradients(make_models):
    """their_gradients(subject): by our names of parameters, float64, of the mean loss of all tokens but the first."""

    def gradients(subject):
        model, count = subject.theirs, sum(len(ids) - 1 for ids in subject.sequences)
        model.zero_grad()
        with make_models.in_double(model.base_model.model):
            for ids in subject.sequences:
                logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0]
                scores = logits[:-1].log_softmax(-1).gather(1, torch.from_numpy(ids[1:].astype(np.int64))[:, None])
                (-scores.sum() / count).backward()
            return by_our_names(
                subject,
                {name: each.grad.numpy().copy() for name, each in model.named_parameters() if each.grad is not None},
            )

    return gradients


def by_our_names(subject, found):
    known = counterparts(subject.files.family, subject.files.config, "transformers")
    additions = [(each, made) for each in known if (made := joined(each, subject.adapter.pairs)) is not None]
    ours = {}
    for matrix, name, made in named(additions):
        a, b = (found[f"base_model.model.{name}.lora_{which}.default.weight"] for which in "AB")
        if matrix.experts is not None:
            a = a.reshape(matrix.experts, made.rank, matrix.inputs)
            b = b.reshape(matrix.outputs, made.rank, matrix.experts).transpose(2, 0, 1)
        start = 0
        for part in matrix.parts:
            pair = subject.adapter.pairs[part.ours]
            ranks = slice(start, start + pair.rank)
            start += pair.rank if made.ranks else 0
            own = slice(None) if pair.experts is None else list(pair.experts)
            ours[f"{part.ours}.a"] = a[own][..., ranks, :]
            ours[f"{part.ours}.b"] = b[own][..., ranks][..., part.rows, :]
    return ours
