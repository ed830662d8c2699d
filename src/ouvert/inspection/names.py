"""Names of values: ours, patterns of ours, and what other tools call the same values."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Subject

# (another tool's name, ours, families of which it is not true). {n} is a layer. Only where the numbers mean the same:
# TransformerLens (https://transformerlensorg.github.io/TransformerLens, "Main Demo": hook points; 3 and later: bridge
# names), nnterp (https://github.com/Butanium/nnterp, README), module paths of transformers' models.
ALIASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("hook_embed", "embedding", ()),
    ("embed.hook_out", "embedding", ()),
    ("token_embeddings", "embedding", ()),
    ("model.embed_tokens", "embedding", ()),
    ("blocks.{n}.hook_resid_post", "layers.{n}.out", ()),
    ("blocks.{n}.hook_out", "layers.{n}.out", ()),
    ("layers_output[{n}]", "layers.{n}.out", ()),
    ("model.layers.{n}", "layers.{n}.out", ()),
    ("blocks.{n}.hook_resid_pre", "layers.{n}.in", ()),
    ("blocks.{n}.hook_in", "layers.{n}.in", ()),
    ("layers_input[{n}]", "layers.{n}.in", ()),
    ("blocks.{n}.attn.hook_q", "layers.{n}.attention.q", ("qwen3", "qwen3_moe", "deepseek_v3")),
    ("blocks.{n}.attn.q.hook_out", "layers.{n}.attention.q", ("qwen3", "qwen3_moe", "deepseek_v3")),
    ("model.layers.{n}.self_attn.q_proj", "layers.{n}.attention.q", ("qwen3", "qwen3_moe", "deepseek_v3")),
    ("blocks.{n}.attn.hook_k", "layers.{n}.attention.k", ("qwen3", "qwen3_moe")),
    ("blocks.{n}.attn.k.hook_out", "layers.{n}.attention.k", ("qwen3", "qwen3_moe")),
    ("model.layers.{n}.self_attn.k_proj", "layers.{n}.attention.k", ("qwen3", "qwen3_moe")),
    ("blocks.{n}.attn.hook_v", "layers.{n}.attention.v", ()),
    ("blocks.{n}.attn.v.hook_out", "layers.{n}.attention.v", ()),
    ("model.layers.{n}.self_attn.v_proj", "layers.{n}.attention.v", ()),
    ("blocks.{n}.attn.hook_z", "layers.{n}.attention.mixed", ()),
    ("blocks.{n}.attn.hook_pattern", "layers.{n}.attention.weights", ()),
    ("attention_probabilities[{n}]", "layers.{n}.attention.weights", ()),
    ("blocks.{n}.hook_attn_out", "layers.{n}.attention.out", ()),
    ("blocks.{n}.attn.hook_out", "layers.{n}.attention.out", ()),
    ("attentions_output[{n}]", "layers.{n}.attention.out", ()),
    ("model.layers.{n}.self_attn", "layers.{n}.attention.out", ()),
    ("model.layers.{n}.self_attn.o_proj", "layers.{n}.attention.out", ()),
    ("blocks.{n}.mlp.hook_post", "layers.{n}.mlp.inner", ()),
    ("blocks.{n}.hook_mlp_out", "layers.{n}.mlp.out", ("deepseek_v3",)),
    ("blocks.{n}.mlp.hook_out", "layers.{n}.mlp.out", ("deepseek_v3",)),
    ("mlps_output[{n}]", "layers.{n}.mlp.out", ("deepseek_v3",)),
    ("model.layers.{n}.mlp", "layers.{n}.mlp.out", ("deepseek_v3",)),
    ("model.layers.{n}.mlp.down_proj", "layers.{n}.mlp.out", ("deepseek_v3",)),
    ("model.layers.{n}.mlp.gate", "layers.{n}.experts.scores", ("deepseek_v3", "gpt_oss")),
    ("model.layers.{n}.block_sparse_moe.gate", "layers.{n}.experts.scores", ()),
    ("model.layers.{n}.block_sparse_moe", "layers.{n}.experts.out", ()),
    ("backbone.embeddings", "embedding", ()),
    ("backbone.layers.{n}", "layers.{n}.out", ()),
    ("backbone.layers.{n}.mixer", "layers.{n}.mixer.out", ()),
    ("model.norm", "norm", ()),
    ("backbone.norm_f", "norm", ()),
    ("unembed.hook_out", "logits", ()),
    ("lm_head", "logits", ()),
)
MOST_NEAR = 5


def own_name(subject: Subject, asked: str) -> str:
    """Our name of a value that is called by ours or another tool's. Raises InspectionError, with near names, for a name
    of no value of this model."""
    known = subject.names
    for alias, ours, but in ALIASES:
        found = re.fullmatch(re.escape(alias).replace(re.escape("{n}"), r"(\d{1,9})"), asked)
        if found and subject.family not in but:
            layer = int(found[1]) if found.groups() else 0
            asked = into_a_layer(ours, layer)
            break
    if re.fullmatch(r"layers\.\d{1,9}\.in", asked):
        asked = into_a_layer("layers.{n}.in", int(asked.split(".")[1]))
    if asked in known:
        return asked
    raise InspectionError(
        f"looking at {asked!r:.80}: {subject.name} has no such value. Near names: {', '.join(near(subject, asked))}; "
        "docs/formats/taps.md has all."
    )


def into_a_layer(ours: str, layer: int) -> str:
    """The name with its layer; what goes into a layer is what came out of the one before."""
    if ours == "layers.{n}.in":
        return "embedding" if layer == 0 else f"layers.{layer - 1}.out"
    return ours.replace("{n}", str(layer))


def own_names(subject: Subject, asked: str | Iterable[str]) -> list[str]:
    """Our names of all values that these names and patterns ask for: "layers.12.out", "layers.*.out", or the end of a
    name ("attention.out"), which means that of every layer. Raises InspectionError for what asks for none."""
    known = subject.names
    chosen: dict[str, None] = {}
    for each in [asked] if isinstance(asked, str) else asked:
        found = [name for name in known if fnmatchcase(name, each) or name.split(".", 2)[-1] == each]
        chosen.update(dict.fromkeys(found or [own_name(subject, each)]))
    return list(chosen)


def near(subject: Subject, asked: str) -> Sequence[str]:
    """The names that look most like it, of the layer that it names, or of the last."""
    said = re.search(r"(?:layers?|blocks)\D?(\d{1,9})", asked)
    layer = min(int(said[1]), subject.layers - 1) if said else subject.layers - 1
    names = [name for name in subject.names if not name.startswith("layers.") or name.startswith(f"layers.{layer}.")]
    wanted = asked.replace(said[0], f"layers.{layer}") if said else asked
    return get_close_matches(wanted, names, MOST_NEAR, 0.3) or names[:MOST_NEAR]
