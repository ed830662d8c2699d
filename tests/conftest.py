"""What several tests share: a real, small model, and tiny ones that say what they are told."""

import importlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ouvert.store import Store
from ouvert.weights import SafetensorsWriter

# Not the user's own store: tests neither see nor touch that.
HOME = Path(__file__).parents[1] / "build" / "store"


@pytest.fixture(scope="session", autouse=True)
def nobodys_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the owner of this machine has set concerns no test, and no test touches the owner's key of kept prefixes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OUVERT_")]:
            patch.delenv(name)
        patch.setenv("OUVERT_CONFIG", os.devnull)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        yield


@pytest.fixture(scope="session", autouse=True)
def no_guard_in_this_process() -> Iterator[None]:
    """A guard stays in the process that puts it up: every test after that one would be under it. So it fails there."""

    def refuse(made: object) -> None:
        pytest.fail("the guard would stay for all tests to come: OUVERT_GUARD=off here, or a process of its own")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("ouvert.safety.guard"), "wrap_name_lookups", refuse)
        yield


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1 (Apache-2.0), as a GGUF file. Fetched once, digest checked."""
    return Store(HOME).pull("smollm2").path


@pytest.fixture(scope="session")
def tiny_gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt-oss of random weights that speaks Harmony, as examples/tiny_gpt_oss.py writes it."""
    path = Path(__file__).parents[1] / "examples" / "tiny_gpt_oss.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("tiny_gpt_oss") / "tiny"
    module.write_tiny_gpt_oss(folder)
    return folder


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
HELLO = {
    "\n": "Hello",
    "Hello": " from",
    " from": " a",
    " a": " tiny",
    " tiny": " model",
    " model": ".",
    ".": "<|im_end|>",
    "again": "again",
}


@pytest.fixture(scope="session")
def speaking_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """speaking_model({"\\n": "Hello", ...}) -> folder: a checkpoint of the llama family whose next token is told by
    its last one, as the mapping says (anything else is followed by "."). It speaks ChatML, so "\\n" begins an answer;
    with template= and control=, whose first begins a text and whose last ends an answer, it speaks something else.
    """
    made: dict[str, Path] = {}

    def speaking(follows: Mapping[str, str] = HELLO, template: str = CHATML, control: Sequence[str] = CONTROL) -> Path:
        key = json.dumps([follows, template, control])
        if key not in made:
            made[key] = tmp_path_factory.mktemp("speaking") / "tiny"
            write_speaking_model(made[key], follows, template, control)
        return made[key]

    return speaking


def write_speaking_model(folder: Path, follows: Mapping[str, str], template: str, control: Sequence[str]) -> None:
    """One layer of small random weights; the embedding gives every token a direction of its own, and the unembedding
    answers each direction with the token that follows."""
    folder.mkdir()
    words = sorted({word for pair in follows.items() for word in pair if word not in control and len(word) > 1})
    added = {text: 256 + n for n, text in enumerate([*control, *words])}
    size = -(-(256 + len(added)) // 32) * 32
    settings = {"chat_template": template, "eos_token": control[-1], "bos_token": control[0]}
    for name, content in {
        "config.json": {
            **one_layer_of_llama(size),
            "bos_token_id": added[control[0]],
            "eos_token_id": added[control[-1]],
        },
        "tokenizer.json": bytes_and_added_tokens(added, control),
        "tokenizer_config.json": {**settings, "tokenizer_class": "PreTrainedTokenizerFast"},
        "generation_config.json": {"do_sample": False},  # and no repetition guard: some of them say one word for ever
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    ids = {**{chr(byte): byte for byte in range(128)}, **added}
    weights = weights_that_answer(size, ids, follows, np.random.default_rng(len(words)))
    declared = {name: ("F32", values.shape) for name, values in weights.items()}
    with SafetensorsWriter(folder / "model.safetensors", declared) as writer:
        for name, values in weights.items():
            writer.write(name, values)


@pytest.fixture(scope="session")
def speaking_adapter(speaking_model: Callable[..., Path]) -> Callable[..., Any]:
    """speaking_adapter(store, "rude", after="\\n", as_after=" tiny") -> the record of an adapter of `speaking_model()`
    in this store: behind the token `after` it says what the bare model says behind `as_after`, so an answer begins
    otherwise. `strength` below 1 changes numbers and no words."""

    def made(store: Any, name: str, after: str = "\n", as_after: str = " tiny", strength: float = 1.0) -> Any:
        import ouvert

        with ouvert.load(speaking_model(), store=store, receipts=False, prefixes=False, threads=1) as model:
            at, of = (model.tokenizer.encode(each)[-1] for each in (after, as_after))
            adapter = one_that_answers(model.engine.vocabulary_size, at, of, strength)
            return model.adapters.keep(name, adapter, {"imported": {"from": "peft"}})

    return made


def one_that_answers(size: int, at: int, of: int, strength: float) -> Any:
    """Additions of rank 1 to the only layer: its first inner unit fires at the token `at`, and puts the direction of
    the token `of` in its place."""
    from ouvert.arithmetic import LowRank
    from ouvert.packed import Adapter

    def row(width: int, **values: float) -> np.ndarray:
        found = np.zeros((1, width), np.float32)
        for place, value in values.items():
            found[0, int(place[1:])] = value
        return found

    fires, inner = row(size, **{f"_{at}": 1.0}), row(64, _0=1.0)
    becomes = row(size, **{f"_{of}": 1.0, f"_{at}": -0.5})
    return Adapter(
        {
            "layers.0.gate": LowRank(fires, inner.T.copy(), 1.0),
            "layers.0.up": LowRank(fires, inner.T.copy(), 1.0),
            "layers.0.down": LowRank(inner, becomes.T.copy(), 0.1 * strength),
        }
    )


def bytes_and_added_tokens(added: Mapping[str, int], control: Sequence[str]) -> dict[str, Any]:
    """tokenizer.json of a vocabulary of single bytes and the `added` texts, of which `control` are special."""
    # Bytes as byte-level BPE writes them: printable ones as they are, the others from U+0100 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": token, "content": text, **plain, "special": text in control} for text, token in added.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {letters[byte]: byte for byte in range(256)},
            "merges": [],
        },
    }


def one_layer_of_llama(size: int) -> dict[str, Any]:
    """config.json of a model whose vocabulary is as large as its hidden states."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": size,
        "intermediate_size": 64,
        "max_position_embeddings": 2048,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
        "head_dim": size // 4,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": size,
        "attention_bias": False,
        "mlp_bias": False,
    }


def weights_that_answer(
    size: int, ids: Mapping[str, int], follows: Mapping[str, str], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """A layer that adds next to nothing, and an unembedding that answers each text's token with the one that follows,
    any other with a full stop."""
    small = {
        "self_attn.q_proj": (size, size),
        "self_attn.k_proj": (size // 2, size),
        "self_attn.v_proj": (size // 2, size),
        "self_attn.o_proj": (size, size),
        "mlp.gate_proj": (64, size),
        "mlp.up_proj": (64, size),
        "mlp.down_proj": (size, 64),
    }
    weights = {
        f"model.layers.0.{name}.weight": random.standard_normal(shape).astype(np.float32) * 1e-3
        for name, shape in small.items()
    }
    answer = np.zeros((size, size), np.float32)
    for token in range(size):
        answer[ids["."], token] = 1
    for text, following in follows.items():
        answer[ids["."], ids[text]] = 0
        answer[ids[following], ids[text]] = 1
    return weights | {
        "model.embed_tokens.weight": np.eye(size, dtype=np.float32),
        "lm_head.weight": answer,
        "model.norm.weight": np.ones(size, np.float32),
        "model.layers.0.input_layernorm.weight": np.ones(size, np.float32),
        "model.layers.0.post_attention_layernorm.weight": np.ones(size, np.float32),
    }


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory: pytest.TempPathFactory, speaking_model: Callable[..., Path]) -> Path:
    """A Qwen3-Embedding of two layers of random weights, as such models are published: sentence-transformers' files,
    tensors of the inner model, and a tokenizer that puts a token behind every text."""
    folder = tmp_path_factory.mktemp("embedding") / "embedding"
    shutil.copytree(speaking_model(), folder)
    config = json.loads((folder / "config.json").read_text())
    size, vocabulary = 64, config["vocab_size"]
    config |= {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": size,
        "head_dim": 16,
        "num_hidden_layers": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    del config["mlp_bias"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    closing = CONTROL[-1]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": closing, "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {closing: {"id": closing, "ids": [config["eos_token_id"]], "tokens": [closing]}},
    }
    steps = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    (folder / "1_Pooling").mkdir()
    for name, content in {
        "config.json": config,
        "tokenizer.json": tokenizer,
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in steps],
        "1_Pooling/config.json": {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False},
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    random = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens": (vocabulary, size), "norm": (size,)}
    for n in range(2):
        shapes |= {
            f"layers.{n}.{name}": shape
            for name, shape in {
                "self_attn.q_proj": (64, size),
                "self_attn.k_proj": (32, size),
                "self_attn.v_proj": (32, size),
                "self_attn.o_proj": (size, 64),
                "self_attn.q_norm": (16,),
                "self_attn.k_norm": (16,),
                "mlp.gate_proj": (64, size),
                "mlp.up_proj": (64, size),
                "mlp.down_proj": (size, 64),
                "input_layernorm": (size,),
                "post_attention_layernorm": (size,),
            }.items()
        }
    with SafetensorsWriter(
        folder / "model.safetensors", {f"{name}.weight": ("F32", shape) for name, shape in shapes.items()}
    ) as writer:
        for name, shape in shapes.items():
            writer.write(f"{name}.weight", random.standard_normal(shape).astype(np.float32) * 0.3 + (len(shape) == 1))
    return folder
