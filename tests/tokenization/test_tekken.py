"""Tokenizers out of tekken.json: a small one, with the first ids of the real ones."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ouvert.tokenization import Tokenizer, TokenizerError, tokenizer_from_folder
from ouvert.tokenization.pretokenizers import PRE_TOKENIZERS

WORDS = [b"th", b"the", b" fo", b" fox", "é".encode(), b"beyond the vocabulary"]


def content(**changed: Any) -> dict[str, Any]:
    tokens = [*(bytes([byte]) for byte in range(256)), *WORDS]
    config = {
        "pattern": PRE_TOKENIZERS["tekken"].cuts[0],
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": len(tokens) - 1 + 30,
        "default_num_special_tokens": 30,
        "version": "v3",
    }
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    return {"config": config | changed.pop("config", {}), "vocab": vocab} | changed


def read(folder: Path, **changed: Any) -> Tokenizer:
    (folder / "tekken.json").write_text(json.dumps(content(**changed)))
    return tokenizer_from_folder(folder)


def test_ids_stand_behind_the_special_tokens_and_the_vocabulary_ends_where_the_file_says(tmp_path: Path):
    tokenizer = read(tmp_path)
    assert tokenizer.encode("the fox é") == [30 + 257, 30 + 259, 30 + 32, 30 + 260]
    assert tokenizer.decode(tokenizer.encode("the fox é, beyond the vocabulary")) == "the fox é, beyond the vocabulary"
    assert tokenizer.vocabulary_size == 30 + 256 + 5
    assert (tokenizer.bos, tokenizer.eos, tokenizer.end_ids, tokenizer.adds_bos) == (1, 2, {2}, True)


def test_special_tokens_that_the_file_does_not_list_are_those_of_version_3(tmp_path: Path):
    tokenizer = read(tmp_path)
    named = {"<s>": 1, "[INST]": 3, "[/INST]": 4, "[TOOL_CALLS]": 9, "[/SYSTEM_PROMPT]": 18, "<SPECIAL_29>": 29}
    assert {text: tokenizer.control_tokens[text] for text in named} == named
    ids = tokenizer.encode_parts(tokenizer.split_control("<s>[INST]the fox[/INST]"))
    assert ids == [1, 3, 30 + 257, 30 + 259, 4]
    assert tokenizer.decode(ids) == "the fox"
    assert 3 not in tokenizer.encode("[INST]")


def test_special_tokens_are_those_that_the_file_lists(tmp_path: Path):
    listed = [{"rank": n, "token_str": text, "is_control": True} for n, text in enumerate(["<unk>", "<s>", "</s>"])]
    listed.append({"rank": 7, "token_str": "[THINK]", "is_control": True})
    tokenizer = read(tmp_path, special_tokens=listed, config={"version": "v13"})
    assert tokenizer.control_tokens["[THINK]"] == 7
    assert tokenizer.control_tokens["<SPECIAL_3>"] == 3
    assert "[INST]" not in tokenizer.control_tokens


def test_a_tokenizer_json_beside_it_goes_first_and_small_files_are_honoured(tmp_path: Path):
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 4]}')
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": false}')
    tokenizer = read(tmp_path)
    assert tokenizer.end_ids == {2, 4}
    assert tokenizer.adds_bos is False
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        tokenizer_from_folder(tmp_path)


UNKNOWN = {"special_tokens": None, "config": {"version": "v13"}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vocab": []}, "it has 0 different tokens, expected every rank below 261 once"),
        ({"vocab": content()["vocab"][:-3]}, "it has 259 different tokens"),
        ({"vocab": 7}, "lacks the shape of a tokenizer"),
        ({"vocab": [{"rank": 0}]}, "lacks the shape of a tokenizer"),
        ({"config": {"default_vocab_size": "many"}}, "lacks the shape of a tokenizer"),
        ({"config": {"pattern": r"\w+"}}, r"it cuts text by the pattern .*w\+"),
        (UNKNOWN, "lacks the shape of a tokenizer"),
        ({"special_tokens": [{"rank": 30, "token_str": "<s>"}]}, "special tokens contradict each other"),
        ({"special_tokens": [{"rank": n, "token_str": "<s>"} for n in (1, 2)]}, "special tokens contradict each other"),
        ({"special_tokens": [{"rank": 1, "token_str": text} for text in "ab"]}, "special tokens contradict each other"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(changed: dict[str, Any], said: str, tmp_path: Path):
    with pytest.raises(TokenizerError, match=said):
        read(tmp_path, **dict(changed))


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b"{}"])
def test_what_is_no_such_file_is_refused_in_a_sentence(raw: bytes, tmp_path: Path):
    (tmp_path / "tekken.json").write_bytes(raw)
    with pytest.raises(TokenizerError, match=r"tekken\.json: it lacks the shape of a tokenizer"):
        tokenizer_from_folder(tmp_path)
