"""Tokenizers out of tokenizer.json, the format of the `tokenizers` library.

Source: github.com/huggingface/tokenizers; the library itself reads the file, after the control tokens, and all it
would do beyond spelling text, have been taken out.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ouvert.tokenization import byte_level, library
from ouvert.tokenization.added import AddedToken, is_control
from ouvert.tokenization.endings import END_OF_TURN
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.named import Named
from ouvert.tokenization.sentencepiece import BYTE_PIECE, SPACE
from ouvert.tokenization.special import special_ids
from ouvert.tokenization.tokenizer import SpacePrefix, Spelling, Tokenizer

# Parts of the model that would change ids in ways we do not undo when decoding.
NEUTRAL_ONLY = ("continuing_subword_prefix", "end_of_word_suffix")
LAST_ID = 2**32 - 1  # the library's


def tokenizer_from_json(path: Path, named: Named) -> Tokenizer:
    """Build the tokenizer of a tokenizer.json; `named` is what the files beside it say. Raises TokenizerError."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise _fault(path, f"it cannot be read ({problem.strerror})", "a file that you may read") from problem
    description, added = _parsed(content, path)
    vocabulary: dict[str, int] = description["model"]["vocab"]
    texts = {token: text for text, token in vocabulary.items()} | {token.id: token.text for token in added}
    ids = {text: token for token, text in texts.items()}
    bos, eos = ids.get(named.bos or ""), ids.get(named.eos or "")
    added = _with_ends(added, texts, {bos, eos, *named.ends})
    prefix = _space_prefix(description)
    around = description.get("post_processor")
    sha256 = hashlib.sha256(content).hexdigest()
    return Tokenizer(
        _spelling(_without_control(description, added), prefix, {token.text for token in added}, path),
        bytes_of=_bytes_of(description, texts, path),
        vocabulary_size=max(texts, default=-1) + 1,
        added=added,
        special=special_ids(
            added,
            bos=bos,
            eos=eos,
            ends=named.ends,
            adds_bos=_starts_with(around, bos, ids) if named.adds_bos is None else named.adds_bos,
            closing=_closing(around, ids),
        ),
        source=lambda: ["tokenizer.json", sha256],
    )


def _parsed(content: bytes, path: Path) -> tuple[dict[str, Any], list[AddedToken]]:
    """The file's description and its added tokens. Raises TokenizerError for what is no BPE tokenizer of ours."""
    try:
        description = json.loads(content)
        model = description["model"]
        vocabulary = model["vocab"]
        entries = description.get("added_tokens") or []
        # A token without text stands nowhere: the library leaves it out too.
        added = [_added(entry) for entry in entries if entry["content"] != ""]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as problem:
        raise _fault(
            path, f"it lacks the shape of a tokenizer ({problem!r})", "model, vocab and added tokens"
        ) from None
    if model.get("type", "BPE") != "BPE" or not isinstance(vocabulary, dict):
        raise _fault(path, f"its model is {model.get('type')!r}", "BPE, which all our families use")
    for key in NEUTRAL_ONLY:
        if model.get(key):
            raise _fault(path, f"its model has {key}={model[key]!r}", "none")
    return description, added


def _spelling(source: dict[str, Any], prefix: SpacePrefix, words: set[str], path: Path) -> Spelling:
    """What spells text, from a description without control tokens. `words` are matched whole."""
    try:
        merging = library.bpe(source["model"])
        first = later = library.described(source, merging)
        if prefix == "start":
            later = library.described(_unprefixed(source), merging)
    except ValueError as problem:
        raise _fault(path, f"the tokenizers library says: {problem}", "a file it can read") from problem
    library.check_merges(len(source["model"]["merges"]), source["model"]["vocab"], words, f"reading {path}: merges")
    return Spelling(first, later, prefix)


def _fault(path: Path, given: str, expected: str) -> TokenizerError:
    return TokenizerError(
        f"reading {path}: {given}, expected {expected}; fetch the file again, or use a model of a family Ouvert runs."
    )


def _added(entry: dict[str, Any]) -> AddedToken:
    text = entry["content"]
    if not isinstance(text, str) or not 0 <= int(entry["id"]) <= LAST_ID:
        raise ValueError(f"an added token is {str(entry)[:80]}")
    text.encode()  # half a character is no text
    special = bool(entry.get("special", False)) or text in END_OF_TURN
    return AddedToken(
        int(entry["id"]),
        text,
        control=is_control(text, special=special),
        hidden=special,
        strips_left=bool(entry.get("lstrip", False)),
        strips_right=bool(entry.get("rstrip", False)),
        whole_word=bool(entry.get("single_word", False)),
    )


def _with_ends(added: list[AddedToken], texts: dict[int, str], named: set[int | None]) -> list[AddedToken]:
    """bos, eos and the named ends are control tokens, even where the file lists them as ordinary or not at all."""
    others = [token for token in added if token.id not in named]
    given = {token.id: token for token in added}
    for token in sorted(token for token in named if token is not None and token in texts):
        one = given.get(token) or AddedToken(token, texts[token], control=True, hidden=True)
        others.append(
            AddedToken(
                one.id,
                one.text,
                control=True,
                hidden=True,
                strips_left=one.strips_left,
                strips_right=one.strips_right,
                whole_word=one.whole_word,
            )
        )
    return others


def _without_control(description: dict[str, Any], added: list[AddedToken]) -> dict[str, Any]:
    """The description, left with what spells plain text."""
    control = {token.text for token in added if token.control}
    words = {token.text: token.id for token in added if not token.control}
    model = dict(description["model"])
    merges = model.get("merges") or []
    if control & model["vocab"].keys():
        merges = [merge for merge in merges if not control & _touched(merge)]
    model["vocab"] = {text: token for text, token in model["vocab"].items() if text not in control} | words
    model["merges"] = merges
    model["dropout"] = None  # it blurs training, and has no place in an answer
    return {
        "version": description.get("version", "1.0"),
        "truncation": None,
        "padding": None,
        "added_tokens": [entry for entry in description.get("added_tokens") or [] if entry["content"] in words],
        "normalizer": description.get("normalizer"),
        "pre_tokenizer": description.get("pre_tokenizer"),
        "post_processor": None,
        "decoder": None,
        "model": model,
    }


def _touched(merge: str | list[str]) -> set[str]:
    left, right = merge if isinstance(merge, list) else merge.split(" ", 1)
    return {left, right, left + right}


def _steps(section: Any) -> Iterator[dict[str, Any]]:
    """The steps of a section, out of any nesting of sequences."""
    if isinstance(section, dict):
        inner = next(
            (section[key] for key in ("normalizers", "pretokenizers", "decoders", "processors") if key in section), None
        )
        if inner is None:
            yield section
        for step in inner or ():
            yield from _steps(step)


def _space_prefix(description: dict[str, Any]) -> SpacePrefix:
    for step in [*_steps(description.get("normalizer")), *_steps(description.get("pre_tokenizer"))]:
        match step:
            case {"type": "Prepend"} | {"type": "ByteLevel", "add_prefix_space": True}:
                return "every piece"
            case {"type": "Metaspace", "prepend_scheme": "first"}:
                return "start"
            case {"type": "Metaspace", "prepend_scheme": "never"} | {"type": "Metaspace", "add_prefix_space": False}:
                return "never"
            case {"type": "Metaspace"}:
                return "every piece"
    return "never"


def _unprefixed(description: dict[str, Any]) -> dict[str, Any]:
    """The same description for text that does not stand at the start."""
    copy: dict[str, Any] = json.loads(json.dumps({"pre_tokenizer": description["pre_tokenizer"]}))
    for step in _steps(copy["pre_tokenizer"]):
        if step.get("type") == "Metaspace":
            step["prepend_scheme"] = "never"
            step.pop("add_prefix_space", None)
    return description | copy


def _bytes_of(description: dict[str, Any], texts: dict[int, str], path: Path):  # type: ignore[no-untyped-def]
    kinds = {step.get("type") for step in _steps(description.get("decoder"))}
    if "ByteLevel" in kinds:
        return lambda token: byte_level.unspelled(texts.get(token, ""))
    if kinds & {"ByteFallback", "Metaspace"}:

        def piece(token: int) -> bytes:
            text = texts.get(token, "")
            match = BYTE_PIECE.fullmatch(text)
            return bytes([int(match[1], 16)]) if match else text.replace(SPACE, " ").encode()

        return piece
    raise _fault(path, f"its decoder has the steps {sorted(map(str, kinds))}", "ByteLevel, ByteFallback or Metaspace")


def _closing(post_processor: Any, ids: dict[str, int]) -> int | None:
    """The token that the file puts behind a single text."""
    for step in _steps(post_processor):
        match step:
            case {"type": "TemplateProcessing", "single": [*_, {"SpecialToken": {"id": str(text)}}]}:
                return ids.get(text)
    return None


def _starts_with(post_processor: Any, bos: int | None, ids: dict[str, int]) -> bool:
    """Whether the file puts bos in front of a single text."""
    for step in _steps(post_processor):
        match step:
            case {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": str(text)}}, *_]}:
                return ids.get(text) == bos
    return False
