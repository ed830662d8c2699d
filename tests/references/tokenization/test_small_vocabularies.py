"""Random texts through small vocabularies that merge across every boundary: ours against llama.cpp and the others."""

import json
import unicodedata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ouvert.tokenization import Tokenizer, tokenizer_from_folder, tokenizer_from_gguf

COUNT = 3000
GOLDENS = Path(__file__).parents[2] / "goldens" / "tokenization"
BY_LLAMA_CPP = (
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "gpt-2",
    "llama-bpe",
    "mpt",
    "olmo",
    "qwen2",
    "smollm",
)
OTHER_NAMES = (
    "a.x-4.0",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "exaone",
    "falcon3",
    "gigachat",
    "lfm2",
    "llama-v3",
    "llama3",
    "megrez",
    "mellum",
    "midm-2.0",
    "minerva-7b",
    "phi-2",
    "pixtral",
    "refact",
    "seed-coder",
    "smaug-bpe",
    "stablelm2",
    "starcoder",
    "trillion",
)
BY_TIKTOKEN = ("deepseek-r1-qwen", "gpt-2", "gpt-4o", "kimi-k2", "llama-bpe", "tekken")


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, Any]:
    return json.loads((GOLDENS / "byte_level.json").read_bytes())


def ours(keys: dict[str, Any]) -> Tokenizer:
    return tokenizer_from_gguf({f"tokenizer.ggml.{key}": value for key, value in keys.items()})


def test_the_goldens_are_what_the_references_say_today(make_tokenization: ModuleType, smollm2: Path):
    for name, content in make_tokenization.goldens(smollm2).items():
        stored = (GOLDENS / name).read_bytes()
        if isinstance(content, bytes):
            assert stored == content, name
        else:
            parsed = json.loads(stored)
            for each in (parsed, content):
                each.pop("made_with", None)
            assert parsed == json.loads(json.dumps(content)), name


def test_the_tables_of_both_scripts_agree(make_tokenization: ModuleType):
    assert BY_LLAMA_CPP == make_tokenization.BY_LLAMA_CPP
    assert set(BY_TIKTOKEN) == set(make_tokenization.TIKTOKEN_PATTERNS)


@pytest.mark.parametrize("name", BY_LLAMA_CPP)
def test_ids_are_those_of_llama_cpp(
    name: str, make_tokenization: ModuleType, vocabulary: dict[str, Any], tmp_path: Path
):
    keys = make_tokenization.byte_level_keys(vocabulary, name)
    make_tokenization.write_gguf(tmp_path / "small.gguf", keys)
    tokenizer = ours(keys)
    normal = name in make_tokenization.NORMALISED
    with make_tokenization.LlamaVocabulary(tmp_path / "small.gguf") as theirs:
        for text in make_tokenization.random_texts(COUNT):
            given = unicodedata.normalize("NFC", text) if normal else text
            assert tokenizer.encode(text) == theirs.encode(given), text
            parts = tokenizer.split_control(text)
            assert tokenizer.encode_parts(parts) == theirs.encode(given, control=True), text
        assert sorted(tokenizer.end_ids) == theirs.ends()
        assert tokenizer.adds_bos == theirs.adds_bos()


@pytest.mark.parametrize("name", BY_TIKTOKEN)
def test_ids_are_those_of_tiktoken(name: str, make_tokenization: ModuleType, vocabulary: dict[str, Any]):
    tokenizer = ours(make_tokenization.byte_level_keys(vocabulary, name))
    texts = list(make_tokenization.random_texts(COUNT, seed=2))
    expected = make_tokenization.by_tiktoken(make_tokenization.ranks_of(vocabulary), name, texts)
    assert [tokenizer.encode(text) for text in texts] == expected


@pytest.mark.parametrize("name", ["gpt-4o", "tekken"])
def test_where_llama_cpp_approximates_a_pattern_it_differs_only_on_marks_and_case_beyond_ascii(
    name: str, make_tokenization: ModuleType, vocabulary: dict[str, Any], tmp_path: Path
):
    keys = make_tokenization.byte_level_keys(vocabulary, name)
    make_tokenization.write_gguf(tmp_path / "small.gguf", keys)
    tokenizer = ours(keys)
    seen = {True: 0, False: 0}
    with make_tokenization.LlamaVocabulary(tmp_path / "small.gguf") as theirs:
        for text in make_tokenization.random_texts(COUNT, seed=3):
            kinds = {unicodedata.category(character) for character in text if ord(character) > 127}
            plain = kinds.isdisjoint({"Mn", "Mc", "Me", "Lu", "Ll", "Lt", "Lm"})
            same = tokenizer.encode(text) == theirs.encode(text)
            assert same or not plain, text
            seen[same] += 1
    assert seen[True] > 0.9 * COUNT
    assert seen[False] > 0, "llama.cpp no longer approximates: put the pattern back into its table"


def test_ids_are_those_of_sentencepiece_and_llama_cpp(make_tokenization: ModuleType, tmp_path: Path):
    import sentencepiece

    model = (GOLDENS / "sentencepiece.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(model)
    keys = make_tokenization.sentencepiece_keys(model)
    make_tokenization.write_gguf(tmp_path / "small.gguf", keys)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    from_file, from_gguf = tokenizer_from_folder(tmp_path), ours(keys)
    with make_tokenization.LlamaVocabulary(tmp_path / "small.gguf") as llama_cpp:
        for text in make_tokenization.random_texts(COUNT, seed=4):
            expected = theirs.encode(text)
            assert from_file.encode(text) == expected, text
            assert from_gguf.encode(text) == expected, text
            assert llama_cpp.encode(text) == expected, text
        for text in ("<s>[INST] Hi [/INST] there</s>", "<s><s>a</s>", "a<s>b</s>c", "[INST][/INST] x", "<s> <s>  "):
            expected = llama_cpp.encode(text, control=True)
            for tokenizer in (from_file, from_gguf):
                assert tokenizer.encode_parts(tokenizer.split_control(text)) == expected, text
        assert sorted(from_gguf.end_ids) == llama_cpp.ends()
        assert from_gguf.adds_bos == llama_cpp.adds_bos()


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_of_these_pre_tokenizers_are_read_as_llama_cpp_reads_them(
    name: str, make_tokenization: ModuleType, vocabulary: dict[str, Any], tmp_path: Path
):
    keys = make_tokenization.byte_level_keys(vocabulary, name)
    make_tokenization.write_gguf(tmp_path / "small.gguf", keys)
    tokenizer = ours(keys)
    with make_tokenization.LlamaVocabulary(tmp_path / "small.gguf") as theirs:
        for text in make_tokenization.random_texts(COUNT // 10, seed=5):
            assert tokenizer.encode(text) == theirs.encode(text), text
        assert tokenizer.adds_bos == theirs.adds_bos()
