"""Tokenizers out of model folders: which file counts, and what the small files beside it say."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Library

from ouvert.tokenization import Tokenizer, TokenizerError, tokenizer_from_folder

GOLDENS = Path(__file__).parents[1] / "goldens" / "tokenization"
TRUSTED = [
    "<|im_start|>user\nthe quick fox<|im_end|>\n",
    "a <think> b</think> c lorem ipsum d",
    "<|im_start|><|im_end|><|endoftext|>",
    "no control here, it's 12345",
    "",
]


def write(folder: Path, **contents: Any) -> Path:
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def description(byte_level_library: Library) -> dict[str, Any]:
    """A tokenizer.json to spoil."""
    return json.loads(byte_level_library.to_str())


def test_a_tokenizer_json_gives_what_the_library_gives(make: Callable[[str], Tokenizer], byte_level_library: Library):
    tokenizer = make("tokenizer.json, byte-level")
    library = Library.from_str(byte_level_library.to_str())
    library.no_truncation()
    for text in TRUSTED:
        expected = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode_parts(tokenizer.split_control(text)) == expected
        assert tokenizer.decode(expected) == library.decode(expected, skip_special_tokens=True)
        assert tokenizer.decode(expected, control=True) == library.decode(expected, skip_special_tokens=False)


def test_text_is_not_cut_off_where_the_file_asks_for_it(make: Callable[[str], Tokenizer], byte_level_library: Library):
    assert byte_level_library.truncation
    assert len(make("tokenizer.json, byte-level").encode("long " * 100)) > byte_level_library.truncation["max_length"]


@pytest.mark.parametrize("prefix", ["every piece", "start"])
def test_spaces_are_put_where_the_library_puts_them(
    prefix: str, sentencepiece_library: Callable[[str], Library], tmp_path: Path
):
    library = sentencepiece_library(prefix)
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_from_folder(tmp_path)
    assert tokenizer.space_prefix == prefix
    for text in ("the fox", "<s>the fox", "<s> the</s>fox", "[INST] the [/INST] fox </s>", "  the  fox  ", "fo</s>"):
        expected = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode_parts(tokenizer.split_control(text)) == expected, text


def test_white_space_beside_a_token_goes_where_the_file_says(description: dict[str, Any], tmp_path: Path):
    size = len(description["model"]["vocab"]) + len(description["added_tokens"])
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    description["added_tokens"] += [
        usual | {"id": size, "content": "<left>", "lstrip": True},
        usual | {"id": size + 1, "content": "<right>", "rstrip": True},
        usual | {"id": size + 2, "content": "<word>", "single_word": True},
        usual | {"id": size + 3, "content": " <own>", "lstrip": True},
    ]
    tokenizer = tokenizer_from_folder(write(tmp_path, tokenizer=description))
    library = Library.from_str(json.dumps(description | {"truncation": None}))
    for text in (
        " a  <own>  b",
        "a  <left>  b",
        "a  <right> \n b",
        "<left> <right>",
        "<word>",
        "x<word>",
        "<word>9",
        "(<word>)",
    ):
        expected = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode_parts(tokenizer.split_control(text)) == expected, text


def test_ids_of_a_sentencepiece_model_are_those_of_sentencepiece(
    make: Callable[[str], Tokenizer], goldens: dict[str, Any]
):
    expected = goldens["ids"]["SentencePiece"]["texts"]
    for kind in ("tokenizer.model", "tokenizer.json, SentencePiece"):
        assert [make(kind).encode(text) for text in goldens["texts"]] == expected, kind


def test_a_sentencepiece_model_names_its_own_ends(make: Callable[[str], Tokenizer]):
    tokenizer = make("tokenizer.model")
    assert (tokenizer.bos, tokenizer.eos, tokenizer.end_ids, tokenizer.adds_bos) == (1, 2, {2}, True)
    assert dict(tokenizer.control_tokens) == {"<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4}


def test_mistrals_versions_of_a_sentencepiece_model_are_read_the_latest_first(tmp_path: Path):
    shutil.copy(GOLDENS / "sentencepiece.model", tmp_path / "tokenizer.model.v10")
    (tmp_path / "tokenizer.model.v3").write_bytes(b"an older one")
    (tmp_path / "tokenizer.model.v11m1").write_bytes(b"of another kind")
    found = tokenizer_from_folder(tmp_path)
    shutil.copy(GOLDENS / "sentencepiece.model", tmp_path / "tokenizer.model")
    assert found.encode("Hello there") == tokenizer_from_folder(tmp_path).encode("Hello there")


def test_tokens_added_beside_a_sentencepiece_model_count(tmp_path: Path):
    shutil.copy(GOLDENS / "sentencepiece.model", tmp_path / "tokenizer.model")
    added = {"950": {"content": "<|im_end|>", "special": True}, "951": {"content": "lorem", "special": False}}
    write(tmp_path, tokenizer_config={"added_tokens_decoder": added, "eos_token": "<|im_end|>", "add_bos_token": False})
    tokenizer = tokenizer_from_folder(tmp_path)
    assert (tokenizer.vocabulary_size, tokenizer.eos, tokenizer.adds_bos) == (952, 950, False)
    assert tokenizer.end_ids == {2, 950}
    assert 951 in tokenizer.encode("so lorem it is")


def test_tokenizer_json_goes_before_the_others(description: dict[str, Any], tmp_path: Path):
    shutil.copy(GOLDENS / "sentencepiece.model", tmp_path / "tokenizer.model")
    before = tokenizer_from_folder(tmp_path).digest
    (tmp_path / "tiktoken.model").write_bytes(b"never read")
    assert tokenizer_from_folder(tmp_path).digest == before
    assert tokenizer_from_folder(write(tmp_path, tokenizer=description)).digest != before


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(TokenizerError, match=r"none of tokenizer.json, tokenizer.model, .* is there; fetch one"):
        tokenizer_from_folder(tmp_path)


def test_names_come_from_the_small_files(description: dict[str, Any], tmp_path: Path):
    write(tmp_path, tokenizer=description)
    ids = {token["content"]: token["id"] for token in description["added_tokens"]}
    plain = tokenizer_from_folder(tmp_path)
    assert (plain.bos, plain.eos) == (None, None)
    assert plain.end_ids == {ids["<|im_end|>"], ids["<|endoftext|>"]}

    write(tmp_path, special_tokens_map={"bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|endoftext|>"})
    mapped = tokenizer_from_folder(tmp_path)
    assert mapped.bos == mapped.eos == ids["<|endoftext|>"]
    assert not mapped.adds_bos  # the post-processor puts <|im_start|> in front, which is not bos here

    write(tmp_path, tokenizer_config={"bos_token": "<|im_start|>", "eos_token": None})
    configured = tokenizer_from_folder(tmp_path)
    assert (configured.bos, configured.eos) == (ids["<|im_start|>"], ids["<|endoftext|>"])
    assert configured.adds_bos

    write(tmp_path, tokenizer_config={"bos_token": "<|im_start|>", "add_bos_token": False})
    assert not tokenizer_from_folder(tmp_path).adds_bos

    write(tmp_path, generation_config={"eos_token_id": [ids["<think>"], ids["<|im_end|>"]]})
    assert ids["<think>"] in tokenizer_from_folder(tmp_path).end_ids
    write(tmp_path, generation_config={"eos_token_id": ids["</think>"]})
    assert ids["</think>"] in tokenizer_from_folder(tmp_path).end_ids


@pytest.mark.parametrize("generation", [None, {}, {"eos_token_id": None}, {"eos_token_id": []}])
@pytest.mark.parametrize("several", [False, True])
def test_the_configuration_names_the_ends_where_generation_config_does_not(
    several: bool, generation: dict[str, Any] | None, description: dict[str, Any], tmp_path: Path
):
    """As transformers derives one from the other."""
    fox = description["model"]["vocab"]["q"]
    write(tmp_path, tokenizer=description, config={"eos_token_id": [fox] if several else fox})
    if generation is not None:
        write(tmp_path, generation_config=generation)
    assert fox in tokenizer_from_folder(tmp_path).end_ids


def test_generation_config_goes_before_the_configuration(description: dict[str, Any], tmp_path: Path):
    one, other = (description["model"]["vocab"][text] for text in "qz")
    write(tmp_path, tokenizer=description, config={"eos_token_id": one}, generation_config={"eos_token_id": other})
    assert {one, other} & tokenizer_from_folder(tmp_path).end_ids == {other}


@pytest.mark.parametrize("merges", [None, [], "missing"])
def test_a_tokenizer_json_that_lost_its_merges_is_refused(merges: Any, description: dict[str, Any], tmp_path: Path):
    description["model"]["merges"] = merges
    if merges == "missing":
        del description["model"]["merges"]
    write(tmp_path, tokenizer=description)
    with pytest.raises(TokenizerError, match="merges has 0 pairs, expected about one for each of 644 tokens"):
        tokenizer_from_folder(tmp_path)


def test_an_ordinary_token_that_is_named_as_an_end_is_a_control_token(description: dict[str, Any], tmp_path: Path):
    fox = description["model"]["vocab"]["q"]
    write(tmp_path, tokenizer=description, generation_config={"eos_token_id": fox})
    tokenizer = tokenizer_from_folder(tmp_path)
    assert tokenizer.control_tokens["q"] == fox
    assert fox not in tokenizer.encode("q")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.pop("model"), "it lacks the shape of a tokenizer"),
        (lambda d: d["model"].pop("vocab"), "it lacks the shape of a tokenizer"),
        (lambda d: d["added_tokens"].append({"id": 5}), "it lacks the shape of a tokenizer"),
        (lambda d: d["model"].update(type="Unigram"), "its model is 'Unigram', expected BPE"),
        (lambda d: d["model"].update(end_of_word_suffix="</w>"), "its model has end_of_word_suffix='</w>'"),
        (lambda d: d.update(decoder={"type": "WordPiece"}), r"its decoder has the steps \['WordPiece'\]"),
        (lambda d: d.update(decoder=None), "its decoder has the steps"),
        (lambda d: d["model"].update(merges=[["zz", "qq"]]), "the tokenizers library says"),
        (lambda d: d.update(pre_tokenizer={"type": "Unheard"}), "the tokenizers library says"),
        (
            lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "the tokenizers library says: Precompiled",  # by a panic, which is no Exception
        ),
        (lambda d: d["added_tokens"].append({"id": -1, "content": "<x>"}), "an added token is {'id': -1"),
        (lambda d: d["added_tokens"].append({"id": 2**40, "content": "<x>"}), "an added token is {'id': 1099511627776"),
        (lambda d: d["added_tokens"].append({"id": 5, "content": 7}), "an added token is {'id': 5"),
        (lambda d: d["added_tokens"].append({"id": 5, "content": "\ud800"}), "surrogates not allowed"),
    ],
)
def test_a_tokenizer_json_we_would_misread_is_refused(
    spoil: Callable[[dict[str, Any]], Any], message: str, description: dict[str, Any], tmp_path: Path
):
    spoil(description)
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_folder(write(tmp_path, tokenizer=description))


def test_a_tokenizer_json_that_is_not_json_is_refused(tmp_path: Path):
    for content in (b"\xff\xfe nonsense", b"[" * 100_000):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(TokenizerError, match="it lacks the shape of a tokenizer"):
            tokenizer_from_folder(tmp_path)


def test_an_added_token_without_text_stands_nowhere(description: dict[str, Any], tmp_path: Path):
    plain = tokenizer_from_folder(write(tmp_path, tokenizer=description))
    description["added_tokens"].append({"id": plain.vocabulary_size, "content": "", "special": True})
    tokenizer = tokenizer_from_folder(write(tmp_path, tokenizer=description))
    assert tokenizer.split_control("<s>the fox") == plain.split_control("<s>the fox")


def test_an_end_below_zero_is_none(description: dict[str, Any], tmp_path: Path):
    plain = tokenizer_from_folder(write(tmp_path, tokenizer=description)).end_ids
    folder = write(tmp_path, tokenizer=description, generation_config={"eos_token_id": [-1, 5]})
    assert tokenizer_from_folder(folder).end_ids == plain | {5}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config", b"{", "it is not JSON"),
        ("generation_config", b"[1]", "it holds a list, expected an object"),
        ("generation_config", b'{"eos_token_id": ["x"]}', "a token id is 'x', expected a number"),
        ("tokenizer_config", b'{"added_tokens_decoder": {"x": {"content": "y"}}}', "a token id is 'x'"),
        ("tokenizer_config", b'{"added_tokens_decoder": {"5": 7}}', r"added_tokens_decoder\['5'\] is 7"),
        ("tokenizer_config", b'{"added_tokens_decoder": [1]}', r"added_tokens_decoder is \[1\], expected an object"),
        ("generation_config", b'{"eos_token_id": 1e999}', "a token id is inf, expected a number"),
        ("special_tokens_map", b"[" * 100_000, "it is not JSON"),
    ],
)
def test_small_files_that_are_damaged_are_named(
    name: str, content: bytes, message: str, description: dict[str, Any], tmp_path: Path
):
    (tmp_path / f"{name}.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_folder(write(tmp_path, tokenizer=description))


def test_a_small_file_that_cannot_be_read_is_named(description: dict[str, Any], tmp_path: Path):
    (tmp_path / "generation_config.json").mkdir()
    with pytest.raises(TokenizerError, match=r"generation_config.json: Is a directory, expected a file"):
        tokenizer_from_folder(write(tmp_path, tokenizer=description))


def field(number: int, value: bytes | int) -> bytes:
    """A field of a protocol buffer; numbers below 128 only."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    size = len(value)
    length = b""
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (field(2, field(3, 1)), r"its model type is 1, expected 2 \(BPE\)"),
        (field(2, field(3, 2) + bytes([24 << 3 & 0x7F | 0x80, 24 << 3 >> 7, 1])), "it writes spaces after words"),
        (field(3, field(2, b"map")), "it changes text before cutting it"),
        (field(3, field(4, 1)), "it changes text before cutting it"),
        (field(3, field(4, 0) + field(5, 0)), "it changes text before cutting it"),
        (field(1, field(1, b"x") + field(3, 5)), "some pieces are marked unused"),
        (b"\x0f", "it is not a SentencePiece model"),
        (b"\x0a\x7f", "it is not a SentencePiece model"),
        (b"\x80" * 12, "it is not a SentencePiece model"),
        (field(1, field(1, b"\xff")), "it is not a SentencePiece model"),
        (field(1, b""), "it is not a SentencePiece model"),
    ],
)
def test_a_sentencepiece_model_we_would_misread_is_refused(more: bytes, message: str, tmp_path: Path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes((GOLDENS / "sentencepiece.model").read_bytes() + more)
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_folder(tmp_path)


@pytest.mark.parametrize("raw", [b"", b"\0", base64.b64encode(b"a") + b" 0\n"])
def test_another_file_called_tokenizer_model_is_refused(raw: bytes, tmp_path: Path):
    (tmp_path / "tokenizer.model").write_bytes(raw)
    with pytest.raises(TokenizerError, match="it is not a SentencePiece model"):
        tokenizer_from_folder(tmp_path)
