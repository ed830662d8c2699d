"""Tokenizers out of GGUF metadata: the same ids as llama.cpp, tiktoken and sentencepiece; faults named."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ouvert.tokenization import Tokenizer, TokenizerError, tokenizer_from_gguf
from ouvert.tokenization.pretokenizers import PRE_TOKENIZERS
from ouvert.weights import open_checkpoint

spec = importlib.util.spec_from_file_location("bounded", Path(__file__).parents[1] / "bounded.py")
assert spec
assert spec.loader
bounded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bounded)

Keys = Callable[..., dict[str, Any]]
NAMES = sorted(
    json.loads((Path(__file__).parents[1] / "goldens" / "tokenization" / "ids.json").read_bytes())["ids"].keys()
    - {"SmolLM2", "SentencePiece"}
)
SPECIAL, USER_DEFINED, UNUSED = 3, 4, 5


def with_token(keys: dict[str, Any], text: str, kind: int) -> dict[str, Any]:
    """The same vocabulary with one more token at its end."""
    longer = dict(keys)
    longer["tokenizer.ggml.tokens"] = [*keys["tokenizer.ggml.tokens"], text]
    longer["tokenizer.ggml.token_type"] = [*keys["tokenizer.ggml.token_type"], kind]
    return longer


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_another_program(name: str, goldens: dict[str, Any], byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(byte_level_keys(pre=name))
    expected = goldens["ids"][name]
    assert [tokenizer.encode(text) for text in goldens["texts"]] == expected["texts"]
    if trusted := expected.get("trusted"):
        parts = [tokenizer.split_control(text) for text in goldens["trusted"]]
        assert [tokenizer.encode_parts(each) for each in parts] == trusted


def test_the_texts_tell_the_pre_tokenizers_apart(goldens: dict[str, Any]):
    """So that a pre-tokenizer put in another's place would be noticed; these few pairs are the same by design."""
    same = [{"gpt-2", "mpt"}, {"gpt-2", "olmo"}, {"mpt", "olmo"}, {"deepseek-r1-qwen", "qwen2"}]
    for one in NAMES:
        for other in NAMES:
            if one < other and {one, other} not in same:
                assert goldens["ids"][one]["texts"] != goldens["ids"][other]["texts"], (one, other)


def test_ids_of_smollm2_are_those_of_llama_cpp(goldens: dict[str, Any], smollm2_tokenizer: Tokenizer):
    expected = goldens["ids"]["SmolLM2"]
    assert [smollm2_tokenizer.encode(text) for text in goldens["texts"]] == expected["texts"]
    parts = [smollm2_tokenizer.split_control(text) for text in goldens["trusted"]]
    assert [smollm2_tokenizer.encode_parts(each) for each in parts] == expected["trusted"]


def test_smollm2_knows_its_control_tokens(smollm2_tokenizer: Tokenizer):
    assert smollm2_tokenizer.vocabulary_size == 49152
    assert (smollm2_tokenizer.bos, smollm2_tokenizer.eos) == (1, 2)
    assert smollm2_tokenizer.end_ids == {0, 2}
    assert not smollm2_tokenizer.adds_bos
    assert len(smollm2_tokenizer.control_tokens) == 17
    assert smollm2_tokenizer.split_control("<|im_start|>user\nHi<|im_end|>\n") == [1, "user\nHi", 2, "\n"]


def test_a_vocabulary_is_read_with_a_few_calls_for_each_token(smollm2: Path):
    """Reading it is most of what a start takes. Six calls a token are 0.1 s."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    with open_checkpoint(smollm2) as checkpoint:
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            tokenizer = tokenizer_from_gguf(checkpoint.metadata)
        finally:
            sys.setprofile(before)
    assert calls < 8 * tokenizer.vocabulary_size


def test_sentencepiece_ids_are_those_of_sentencepiece(goldens: dict[str, Any], sentencepiece_keys: Keys):
    tokenizer = tokenizer_from_gguf(sentencepiece_keys())
    assert [tokenizer.encode(text) for text in goldens["texts"]] == goldens["ids"]["SentencePiece"]["texts"]
    assert tokenizer.adds_bos


def test_sentencepiece_puts_a_space_before_every_piece_unless_told_otherwise(sentencepiece_keys: Keys):
    tokenizer = tokenizer_from_gguf(sentencepiece_keys())
    assert [tokenizer.token_bytes(token) for token in tokenizer.encode("the")] == [b" the"]
    parts = [*tokenizer.encode("the"), 2, *tokenizer.encode("the")]
    assert tokenizer.encode_parts(["the", 2, "the"]) == parts
    assert tokenizer.decode(parts) == "thethe"
    plain = tokenizer_from_gguf(sentencepiece_keys(add_space_prefix=False))
    assert b"".join(plain.token_bytes(token) for token in plain.encode("the")) == b"the"


def test_an_unknown_pre_tokenizer_is_refused_by_name(byte_level_keys: Keys):
    with pytest.raises(
        TokenizerError, match=r"pre is 'poro-chat', expected one of a.x-4.0, .*smollm.*tekken, trillion; "
    ):
        tokenizer_from_gguf(byte_level_keys(pre="poro-chat"))


def test_a_file_without_a_pre_tokenizer_is_read_as_llama_cpp_reads_it(byte_level_keys: Keys, goldens: dict[str, Any]):
    tokenizer = tokenizer_from_gguf(byte_level_keys(pre=None))
    assert [tokenizer.encode(text) for text in goldens["texts"]] == goldens["ids"]["default"]["texts"]


LONG_RUNS = """
from ouvert.tokenization import tokenizer_from_gguf

def task(keys):
    tokenizer = tokenizer_from_gguf(keys)
    for unit in ("A", "é", " ", "\\u00a0", "\\n", "1", "!", "\\u0301", "'s", " \\n"):
        for tail in ("", "中", "1"):
            assert tokenizer.encode(unit * (20_000 // len(unit)) + tail)
"""


def test_no_pre_tokenizer_is_quadratic(byte_level_keys: Keys):
    """All of it takes one about 0.3 s; each of the thirty texts would take three seconds if a cut were quadratic."""
    tasks = {name: byte_level_keys(pre=name) for name in PRE_TOKENIZERS}
    assert bounded.unfinished(LONG_RUNS, tasks, seconds=20) is None


def test_what_never_ends_is_noticed_and_named():
    script = "def task(forever):\n    while forever: pass"
    name, why = bounded.unfinished(script, {"ends": False, "goes on": True, "is not reached": False}, seconds=1)
    assert (name, why) == ("goes on", "it did not end in 1 s of computing")
    name, why = bounded.unfinished("def task(_):\n    raise ValueError('no')", {"fails": None}, seconds=1)
    assert name == "fails"
    assert "ValueError: no" in why


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "there is no tokenizer.ggml.model, .*; use a file converted with its vocabulary"),
        ("bert", "tokenizer.ggml.model is 'bert', expected 'gpt2' .* or 'llama'"),
        (7, "model is int, expected text"),
    ],
)
def test_other_tokenizers_are_refused_by_name(model: Any, message: str, byte_level_keys: Keys):
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_gguf(byte_level_keys(model=model))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tokens": None}, "tokens is missing or empty"),
        ({"tokens": []}, "tokens is missing or empty"),
        ({"tokens": ["a", "a"], "token_type": [1, 1]}, "tokens has 'a' twice"),
        ({"tokens": ["a", 5], "token_type": [1, 1]}, "tokens holds other things than text"),
        ({"token_type": [1, 1]}, "token_type has 2 entries, expected one for each of the 90. tokens"),
        ({"token_type": 1}, "token_type is 1, expected an array of 90. numbers"),
        ({"token_type": ["1"] * 1000}, "token_type holds other things than numbers"),
        ({"tokens": "abc"}, "tokens holds other things than text"),
        ({"merges": [1, 2]}, "merges holds other things than text"),
        ({"merges": ["nospace"]}, "merges does not fit tokens .*'?nospace'?.*, expected pairs"),
        ({"merges": ["q q"]}, "merges does not fit tokens"),
        ({"merges": ["中 文"]}, "merges does not fit tokens"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(changed: dict[str, Any], message: str, byte_level_keys: Keys):
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_gguf(byte_level_keys(**changed))


@pytest.mark.parametrize("merges", [None, [], 20])
def test_a_vocabulary_that_lost_its_merges_is_refused(merges: Any, byte_level_keys: Keys):
    """Every text would be read byte by byte, and answered without a word about it."""
    given = byte_level_keys()["tokenizer.ggml.merges"][:merges] if isinstance(merges, int) else merges
    with pytest.raises(TokenizerError, match=r"merges has (0|20) pairs, expected about one for each of \d{3} tokens"):
        tokenizer_from_gguf(byte_level_keys(merges=given))


def test_a_vocabulary_of_bytes_alone_needs_no_merges(byte_level_keys: Keys):
    tokens = [*(token for token in byte_level_keys()["tokenizer.ggml.tokens"] if len(token) == 1), "<|end|>", "lorem"]
    types = [1] * (len(tokens) - 2) + [SPECIAL, USER_DEFINED]
    tokenizer = tokenizer_from_gguf(
        byte_level_keys(tokens=tokens, token_type=types, merges=None, bos_token_id=None, eos_token_id=len(tokens) - 2)
    )
    assert tokenizer.decode(tokenizer.encode("no lorem here")) == "no lorem here"


def test_tokens_that_only_fill_a_vocabulary_need_no_merges_and_are_never_spelled(byte_level_keys: Keys):
    """Converters fill it up to the number of rows: [PAD151646], unused."""
    keys = byte_level_keys()
    fill = [f"[PAD{n}]" for n in range(2000)]
    keys["tokenizer.ggml.tokens"] = [*keys["tokenizer.ggml.tokens"], *fill]
    keys["tokenizer.ggml.token_type"] = [*keys["tokenizer.ggml.token_type"], *[UNUSED] * len(fill)]
    tokenizer = tokenizer_from_gguf(keys)
    assert tokenizer.encode("see [PAD7]") == tokenizer_from_gguf(byte_level_keys()).encode("see [PAD7]")
    assert tokenizer.token_bytes(tokenizer.vocabulary_size - 1) == b""


def test_types_beyond_the_last_token_are_nobodys(byte_level_keys: Keys):
    types = [*byte_level_keys()["tokenizer.ggml.token_type"], 1, 1]
    assert (
        tokenizer_from_gguf(byte_level_keys(token_type=types)).digest == tokenizer_from_gguf(byte_level_keys()).digest
    )


def test_a_token_of_raw_bytes_decodes_to_them_and_is_never_spelled(byte_level_keys: Keys):
    raw = b"\xff\xfe".decode(errors="surrogateescape")
    tokenizer = tokenizer_from_gguf(with_token(byte_level_keys(), raw, 1))
    token = tokenizer.vocabulary_size - 1
    assert tokenizer.token_bytes(token) == b"\xff\xfe"
    assert tokenizer.encode("héllo 中文 ÿþ") == tokenizer_from_gguf(byte_level_keys()).encode("héllo 中文 ÿþ")
    assert tokenizer.digest != tokenizer_from_gguf(byte_level_keys()).digest


def test_places_without_a_token_are_never_spelled(byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(with_token(with_token(byte_level_keys(), "", 1), "", UNUSED))
    assert tokenizer.encode("a b") == tokenizer_from_gguf(byte_level_keys()).encode("a b")
    assert tokenizer.token_bytes(tokenizer.vocabulary_size - 1) == b""


def test_raw_bytes_in_a_sentencepiece_vocabulary_decode_to_themselves(sentencepiece_keys: Keys):
    keys = with_token(sentencepiece_keys(), b"\xff\xfe".decode(errors="surrogateescape"), 1)
    keys["tokenizer.ggml.scores"] = [*keys["tokenizer.ggml.scores"], -1.0]
    tokenizer = tokenizer_from_gguf(keys)
    assert tokenizer.token_bytes(tokenizer.vocabulary_size - 1) == b"\xff\xfe"
    assert tokenizer.encode("ÿþ the") == tokenizer_from_gguf(sentencepiece_keys()).encode("ÿþ the")


@pytest.mark.parametrize(
    ("changed", "ends"),
    [
        ({"eos_token_ids": [300, 301]}, {300, 301}),
        ({"eos_token_id": [300, 301]}, {300, 301}),
        ({"eom_token_id": 302, "eos_token_ids": [-1]}, {302}),
        ({"eos_token_ids": []}, set()),
    ],
)
def test_every_key_that_names_an_end_is_read(changed: dict[str, Any], ends: set[int], byte_level_keys: Keys):
    plain = tokenizer_from_gguf(byte_level_keys(eos_token_id=None)).end_ids
    tokenizer = tokenizer_from_gguf(byte_level_keys(**{"eos_token_id": None, **changed}))
    assert tokenizer.end_ids == plain | ends
    for token in ends:  # what ends an answer never comes out of a user's text
        assert token in tokenizer.control_tokens.values()


def test_an_end_that_is_no_number_is_named(byte_level_keys: Keys):
    with pytest.raises(TokenizerError, match="eos_token_ids is 'x', expected the number of a token"):
        tokenizer_from_gguf(byte_level_keys(eos_token_ids=["x"]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": None}, "token_type or scores is missing"),
        ({"token_type": None}, "token_type or scores is missing"),
        ({"remove_extra_whitespaces": True}, "expected a vocabulary that takes text as it is"),
        ({"precompiled_charsmap": [1, 2]}, "expected a vocabulary that takes text as it is"),
    ],
)
def test_a_sentencepiece_vocabulary_we_would_misread_is_refused(
    changed: dict[str, Any], message: str, sentencepiece_keys: Keys
):
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_gguf(sentencepiece_keys(**changed))


def test_a_sentencepiece_vocabulary_without_bytes_is_refused(sentencepiece_keys: Keys):
    kinds = sentencepiece_keys()["tokenizer.ggml.token_type"]
    bytes_at = [n for n, kind in enumerate(kinds) if kind == 6]
    for lost in (3, len(bytes_at)):
        without = [1 if n in bytes_at[:lost] else kind for n, kind in enumerate(kinds)]
        with pytest.raises(TokenizerError, match=f"{lost} of the 256 byte pieces are missing"):
            tokenizer_from_gguf(sentencepiece_keys(token_type=without))


def test_a_piece_of_absurd_length_is_refused(sentencepiece_keys: Keys):
    keys = with_token(sentencepiece_keys(), "x" * 600, 1)
    keys["tokenizer.ggml.scores"] = [*keys["tokenizer.ggml.scores"], -1.0]
    with pytest.raises(TokenizerError, match="a piece has 600 characters, expected at most 512"):
        tokenizer_from_gguf(keys)


@pytest.mark.parametrize("kind", [SPECIAL, USER_DEFINED])
@pytest.mark.parametrize("text", ["<think>", "</tool_call>", "<｜User｜>", "[TOOL_CALLS]", "｜DSML｜"])
def test_markup_is_control_even_where_the_file_calls_it_ordinary(text: str, kind: int, byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(with_token(byte_level_keys(), text, kind))
    token = tokenizer.vocabulary_size - 1
    assert tokenizer.control_tokens[text] == token
    assert token not in tokenizer.encode(f"a{text}b")
    assert tokenizer.split_control(f"a{text}b") == ["a", token, "b"]
    assert tokenizer.decode([token]) == ("" if kind == SPECIAL else text)


@pytest.mark.parametrize("text", ["lorem ipsum", "     ", "\n\n\n", "ÿÿ"])
def test_added_words_stay_text(text: str, byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(with_token(byte_level_keys(), text, USER_DEFINED))
    token = tokenizer.vocabulary_size - 1
    assert text not in tokenizer.control_tokens
    assert tokenizer.encode(f"a{text}b") == [*tokenizer.encode("a"), token, *tokenizer.encode("b")]
    assert tokenizer.encode_parts([f"a{text}b"]) == tokenizer.encode(f"a{text}b")
    assert tokenizer.split_control(f"a{text}b") == [f"a{text}b"]
    assert tokenizer.decode([token]) == text


def test_a_control_token_inside_an_added_word_is_not_seen(byte_level_keys: Keys):
    keys = with_token(with_token(byte_level_keys(), "xyz", SPECIAL), "wxyz", USER_DEFINED)
    assert tokenizer_from_gguf(keys).split_control("wxyz xyz") == [
        "wxyz ",
        tokenizer_from_gguf(keys).control_tokens["xyz"],
    ]


def test_the_longest_control_token_wins(byte_level_keys: Keys):
    keys = with_token(with_token(byte_level_keys(), "<a>", SPECIAL), "<a><b>", SPECIAL)
    tokenizer = tokenizer_from_gguf(keys)
    last = tokenizer.vocabulary_size - 1
    assert tokenizer.split_control("<a><a><b>") == [last - 1, last]


def test_merges_that_would_make_a_control_token_are_left_out(byte_level_keys: Keys):
    keys = with_token(byte_level_keys(), "qx", SPECIAL)
    keys["tokenizer.ggml.merges"] = ["q x", *keys["tokenizer.ggml.merges"]]
    tokenizer = tokenizer_from_gguf(keys)
    assert tokenizer.control_ids.isdisjoint(tokenizer.encode("qx"))
    assert tokenizer.decode(tokenizer.encode("qx the quick")) == "qx the quick"


def test_an_end_of_turn_counts_even_where_the_file_calls_it_normal(byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(with_token(byte_level_keys(), "<|eot_id|>", 1))
    assert tokenizer.vocabulary_size - 1 in tokenizer.end_ids
    assert "<|eot_id|>" in tokenizer.control_tokens


def test_the_ends_a_file_names_count_whatever_they_are_called(byte_level_keys: Keys):
    keys = with_token(byte_level_keys(), "<stop here>", SPECIAL)
    token = len(keys["tokenizer.ggml.tokens"]) - 1
    assert token not in tokenizer_from_gguf(keys).end_ids
    for key in ("eot_token_id", "eom_token_id", "eos_token_id"):
        assert token in tokenizer_from_gguf(keys | {f"tokenizer.ggml.{key}": token}).end_ids


def test_in_harmony_the_end_of_a_message_does_not_end_the_answer(byte_level_keys: Keys):
    keys = with_token(byte_level_keys(), "<|end|>", SPECIAL)
    end = len(keys["tokenizer.ggml.tokens"]) - 1
    assert end in tokenizer_from_gguf(keys).end_ids
    harmony = tokenizer_from_gguf(with_token(keys, "<|return|>", SPECIAL))
    assert end not in harmony.end_ids
    assert end + 1 in harmony.end_ids


def test_unused_tokens_say_nothing(byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(with_token(byte_level_keys(), "[PAD151936]", UNUSED))
    assert tokenizer.decode([tokenizer.vocabulary_size - 1]) == ""


def test_a_word_of_the_vocabulary_goes_before_the_merges_only_where_the_model_does_so(byte_level_keys: Keys):
    for name, whole in (("llama-bpe", True), ("tekken", True), ("qwen2", False), ("smollm", False)):
        tokenizer = tokenizer_from_gguf(with_token(byte_level_keys(pre=name), "Ġzqzqzq", 1))
        assert (tokenizer.encode(" zqzqzq") == [tokenizer.vocabulary_size - 1]) is whole, name


def test_bos_is_added_as_the_file_says_or_the_pre_tokenizer_does(byte_level_keys: Keys):
    for name, usual in (("llama-bpe", True), ("tekken", True), ("qwen2", False)):
        assert tokenizer_from_gguf(byte_level_keys(pre=name)).adds_bos is usual
        assert not tokenizer_from_gguf(byte_level_keys(pre=name, add_bos_token=False)).adds_bos
        assert tokenizer_from_gguf(byte_level_keys(pre=name, add_bos_token=True)).adds_bos
        without = tokenizer_from_gguf(byte_level_keys(pre=name, bos_token_id=None))
        assert without.bos is None
        assert not without.adds_bos


def test_an_id_outside_the_vocabulary_stands_for_none(byte_level_keys: Keys):
    tokenizer = tokenizer_from_gguf(byte_level_keys(eos_token_id=2**32 - 1))
    assert tokenizer.eos is None


def test_the_digest_changes_with_everything_that_changes_ids(byte_level_keys: Keys):
    usual = tokenizer_from_gguf(byte_level_keys())
    assert tokenizer_from_gguf(byte_level_keys()).digest == usual.digest
    merges = byte_level_keys()["tokenizer.ggml.merges"]
    for changed in (
        byte_level_keys(pre="qwen2"),
        byte_level_keys(merges=merges[:-1]),
        byte_level_keys(merges=[*merges[:-2], merges[-1], merges[-2]]),
        byte_level_keys(add_bos_token=False),
        byte_level_keys(eos_token_id=3),
        with_token(byte_level_keys(), "<think>", USER_DEFINED),
        with_token(byte_level_keys(), "<think>", SPECIAL),
    ):
        assert tokenizer_from_gguf(changed).digest != usual.digest


def test_an_empty_table_of_characters_changes_none(sentencepiece_keys: Keys):
    plain = tokenizer_from_gguf(sentencepiece_keys())
    assert tokenizer_from_gguf(sentencepiece_keys(precompiled_charsmap=[])).digest == plain.digest
