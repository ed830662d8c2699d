"""Tokenizers out of tiktoken-style files."""

import base64
import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.tokenization import Tokenizer, TokenizerError, tokenizer_from_folder, tokenizer_from_ranks
from ouvert.tokenization.ranks import merged

BYTES = {bytes([byte]): byte for byte in range(256)}


def merged_slowly(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """The rule as one would say it: look at all neighbours, join the best, start again."""
    if word in ranks:
        return [ranks[word]]
    pieces = [word[n : n + 1] for n in range(len(word))]
    while True:
        unions = [(ranks.get(left + right), n) for n, (left, right) in enumerate(pairwise(pieces))]
        best = min(((rank, n) for rank, n in unions if rank is not None), default=None)
        if best is None:
            return [ranks[piece] for piece in pieces]
        pieces[best[1] : best[1] + 2] = [pieces[best[1]] + pieces[best[1] + 1]]


@settings(max_examples=400, deadline=None)
@given(
    tokens=st.lists(st.text("abc", min_size=2, max_size=6), unique=True, max_size=25),
    word=st.text("abc", max_size=30),
)
def test_fast_merging_gives_what_slow_merging_gives(tokens: list[str], word: str):
    ranks = BYTES | {token.encode(): 256 + n for n, token in enumerate(tokens)}
    assert merged(word.encode(), ranks) == (merged_slowly(word.encode(), ranks) if word else [])


def test_the_leftmost_of_equals_is_joined_first():
    ranks = BYTES | {b"aa": 256}
    assert merged(b"aaa", ranks) == [256, ord("a")]
    assert merged(b"aaaab", ranks) == [256, 256, ord("b")]


def test_ids_are_those_of_tiktoken(make: Callable[[str], Tokenizer], goldens: dict[str, Any]):
    for kind, name in (("o200k_base.tiktoken", "gpt-4o"), ("tiktoken.model", "kimi-k2")):
        tokenizer = make(kind)
        assert [tokenizer.encode(text) for text in goldens["texts"]] == goldens["ids"][name]["texts"]


def test_gpt_oss_has_the_control_tokens_of_harmony(make: Callable[[str], Tokenizer]):
    tokenizer = make("o200k_base.tiktoken")
    named = {"start": 200006, "message": 200008, "channel": 200005, "constrain": 200003, "end": 200007}
    named |= {"return": 200002, "call": 200012, "endoftext": 199999, "startoftext": 199998}
    assert {name: tokenizer.control_tokens[f"<|{name}|>"] for name in named} == named
    assert tokenizer.vocabulary_size == 201088
    assert tokenizer.end_ids == {200002, 200012, 199999}
    assert tokenizer.control_tokens["<|reserved_201087|>"] == 201087
    assert not tokenizer.adds_bos
    text = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
    assert tokenizer.split_control(text) == [200006, "user", 200008, "Hi", 200007, 200006, "assistant"]


def test_kimi_k2_has_the_control_tokens_of_its_configuration(make: Callable[[str], Tokenizer]):
    tokenizer = make("tiktoken.model")
    first = tokenizer.control_tokens["[BOS]"]
    assert tokenizer.vocabulary_size == first + 256
    assert (tokenizer.bos, tokenizer.eos) == (first, first + 1)
    assert tokenizer.end_ids == {first + 1, first + 2}
    assert tokenizer.control_tokens["<|tool_call_begin|>"] == first + 3
    assert tokenizer.decode([first + 3]) == "<|tool_call_begin|>"
    assert tokenizer.decode([first, first + 2]) == ""
    assert tokenizer.control_tokens[f"<|reserved_token_{first + 9}|>"] == first + 9


def lines(*tokens: bytes) -> bytes:
    return b"".join(base64.b64encode(token) + b" %d\n" % n for n, token in enumerate(tokens))


ALL_BYTES = lines(*BYTES)


def test_a_gzipped_file_is_read_too(tmp_path: Path):
    (tmp_path / "tiktoken.model.gz").write_bytes(gzip.compress(ALL_BYTES))
    tokenizer = tokenizer_from_folder(tmp_path)
    assert tokenizer.encode("é") == list("é".encode())
    (tmp_path / "tiktoken.model").write_bytes(ALL_BYTES)
    assert tokenizer_from_ranks(tmp_path / "tiktoken.model").digest == tokenizer.digest


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "0 lines with 0 different tokens"),
        (b"no base64 at all", "a line that is not a token in base64 and a number"),
        (b"YQ== b\n", "a line that is not a token in base64 and a number"),
        (ALL_BYTES[:-20], "every single byte among the tokens"),
        (ALL_BYTES + b"YWI= 300\n", "every rank from 0 on once"),
        (ALL_BYTES + b"YQ== 256\n", "every rank from 0 on once"),
        (gzip.compress(ALL_BYTES, mtime=0)[:-9], "is damaged"),
    ],
)
def test_a_damaged_file_is_refused(raw: bytes, message: str, tmp_path: Path):
    path = tmp_path / "tiktoken.model"
    path.write_bytes(raw)
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_ranks(path)


def test_a_file_of_another_name_is_refused_since_it_does_not_say_enough(tmp_path: Path):
    path = tmp_path / "cl100k_base.tiktoken"
    path.write_bytes(ALL_BYTES)
    with pytest.raises(TokenizerError, match=r"called cl100k_base.tiktoken, expected one of o200k_base.tiktoken, "):
        tokenizer_from_ranks(path)


def test_control_tokens_that_do_not_follow_the_ranks_are_refused(tmp_path: Path):
    (tmp_path / "tiktoken.model").write_bytes(ALL_BYTES)
    config = {"added_tokens_decoder": {"7": {"content": "<|im_end|>"}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerError, match=r"the control tokens \[7\] lie outside 256 to 511"):
        tokenizer_from_folder(tmp_path)
