"""Small tokenizers of every kind, built from the vocabularies in tests/goldens/tokenization."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library

from ouvert.tokenization import (
    Tokenizer,
    byte_level,
    sentencepiece_model,
    tokenizer_from_folder,
    tokenizer_from_gguf,
)
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[1] / "goldens" / "tokenization"

KINDS = (
    "GGUF, byte-level",
    "GGUF, SentencePiece",
    "tokenizer.json, byte-level",
    "tokenizer.json, SentencePiece",
    "tokenizer.json, prefix at the start",
    "tokenizer.model",
    "o200k_base.tiktoken",
    "tiktoken.model",
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="session")
def goldens() -> dict[str, Any]:
    """texts, trusted, and by name of the pre-tokenizer the ids that another program makes of them."""
    return json.loads((GOLDENS / "ids.json").read_bytes())


@pytest.fixture(scope="session")
def byte_level_keys() -> Callable[..., dict[str, Any]]:
    """Metadata of a GGUF file with a byte-level vocabulary; keyword arguments replace or (None) remove keys."""
    vocabulary = json.loads((GOLDENS / "byte_level.json").read_bytes())
    size = len(vocabulary["tokens"])

    def keys(**changed: Any) -> dict[str, Any]:
        plain = {
            "model": "gpt2",
            "pre": "llama-bpe",
            "tokens": list(vocabulary["tokens"]),
            "token_type": list(vocabulary["types"]),
            "merges": list(vocabulary["merges"]),
            "bos_token_id": size - 2,
            "eos_token_id": size - 1,
        }
        return {f"tokenizer.ggml.{key}": value for key, value in (plain | changed).items() if value is not None}

    return keys


@pytest.fixture(scope="session")
def sentencepiece_keys() -> Callable[..., dict[str, Any]]:
    """The same for the SentencePiece vocabulary, as llama.cpp's converter writes it."""
    _, message = sentencepiece_model._fields((GOLDENS / "sentencepiece.model").read_bytes())
    pieces = [sentencepiece_model._piece(raw) for raw in message[sentencepiece_model.PIECES]]

    def keys(**changed: Any) -> dict[str, Any]:
        plain = {
            "model": "llama",
            "tokens": [text for text, _, _ in pieces],
            "scores": [score for _, score, _ in pieces],
            "token_type": [kind for _, _, kind in pieces],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "unknown_token_id": 0,
        }
        return {f"tokenizer.ggml.{key}": value for key, value in (plain | changed).items() if value is not None}

    return keys


@pytest.fixture(scope="session")
def byte_level_library() -> Library:
    """The byte-level vocabulary as the tokenizers library has it, with control tokens of several sorts."""
    vocabulary = json.loads((GOLDENS / "byte_level.json").read_bytes())
    plain = vocabulary["tokens"][:-3]
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    library = Library(models.BPE({token: n for n, token in enumerate(plain)}, merges, ignore_merges=True))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    library.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    library.add_tokens([AddedToken("lorem ipsum", normalized=False)])
    library.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", library.token_to_id("<|im_start|>"))]
    )
    library.enable_truncation(16)
    return library


def build_sentencepiece_library(prefix: str) -> Library:
    """The SentencePiece vocabulary in the tokenizers library: a space before "every piece" or at the "start"."""
    _, message = sentencepiece_model._fields((GOLDENS / "sentencepiece.model").read_bytes())
    pieces = [sentencepiece_model._piece(raw) for raw in message[sentencepiece_model.PIECES]]
    ids = {text: token for token, (text, _, _) in enumerate(pieces)}
    normal = {text: -score for text, score, kind in pieces if kind == sentencepiece_model.NORMAL}
    pairs = sorted(
        (rank, text[:cut], text[cut:])
        for text, rank in normal.items()
        for cut in range(1, len(text))
        if text[:cut] in normal and text[cut:] in normal
    )
    merges = [(left, right) for _, left, right in pairs]
    library = Library(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prefix == "every piece":
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    library.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return library


@pytest.fixture(scope="session")
def sentencepiece_library() -> Callable[[str], Library]:
    """The SentencePiece vocabulary as the tokenizers library has it, by where a space is put in front."""
    return build_sentencepiece_library


@pytest.fixture(scope="session")
def make(
    tmp_path_factory: pytest.TempPathFactory,
    byte_level_keys: Callable[..., dict[str, Any]],
    sentencepiece_keys: Callable[..., dict[str, Any]],
    byte_level_library: Library,
) -> Callable[[str], Tokenizer]:
    """Builds the tokenizer of a kind; each is built once."""
    built: dict[str, Tokenizer] = {}

    def build(kind: str) -> Tokenizer:
        folder = tmp_path_factory.mktemp("tokenizer")
        match kind:
            case "GGUF, byte-level":
                return tokenizer_from_gguf(byte_level_keys())
            case "GGUF, SentencePiece":
                return tokenizer_from_gguf(sentencepiece_keys())
            case "tokenizer.json, byte-level":
                byte_level_library.save(str(folder / "tokenizer.json"))
                named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
            case "tokenizer.json, SentencePiece":
                build_sentencepiece_library("every piece").save(str(folder / "tokenizer.json"))
                named = {"bos_token": "<s>", "eos_token": "</s>"}
            case "tokenizer.json, prefix at the start":
                build_sentencepiece_library("start").save(str(folder / "tokenizer.json"))
                named = {"bos_token": "<s>", "eos_token": "</s>"}
            case "tokenizer.model":
                shutil.copy(GOLDENS / "sentencepiece.model", folder / "tokenizer.model")
                named = {}
            case "o200k_base.tiktoken" | "tiktoken.model":
                (folder / kind).write_bytes(rank_file(199998 if kind.startswith("o200k") else 0))
                first = rank_file(0).count(b"\n")
                control = {str(first): {"content": "[BOS]", "special": True}}
                control[str(first + 1)] = {"content": "[EOS]", "special": True}
                control[str(first + 2)] = {"content": "<|im_end|>", "special": True}
                control[str(first + 3)] = {"content": "<|tool_call_begin|>", "special": False}
                named = {"added_tokens_decoder": control} if kind == "tiktoken.model" else {}
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
        return tokenizer_from_folder(folder)

    def once(kind: str) -> Tokenizer:
        if kind not in built:
            built[kind] = build(kind)
        return built[kind]

    return once


def rank_file(lines: int) -> bytes:
    """The byte-level vocabulary as a tiktoken-style file, filled up to so many lines with tokens no text merges to."""
    tokens = json.loads((GOLDENS / "byte_level.json").read_bytes())["tokens"][:-3]
    known = [byte_level.unspelled(token) for token in tokens]
    known += [b"\xff" + n.to_bytes(3, "big") for n in range(len(known), lines)]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(known))


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest, make: Callable[[str], Tokenizer]) -> Tokenizer:
    """Each kind in turn."""
    return make(request.param)


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2: Path) -> Tokenizer:
    with open_checkpoint(smollm2) as checkpoint:
        return tokenizer_from_gguf(checkpoint.metadata)
