"""Tokenizers out of tekken.json, Mistral's own file: ranks as in tiktoken, behind a thousand special tokens.

Source: github.com/mistralai/mistral-common, src/mistral_common/tokens/tokenizers/tekken.py.
"""

import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.tokenization.added import AddedToken
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.named import Named
from ouvert.tokenization.pretokenizers import PRE_TOKENIZERS
from ouvert.tokenization.ranks import RankSpeller
from ouvert.tokenization.special import special_ids
from ouvert.tokenization.tokenizer import Spelling, Tokenizer

# The first special tokens of files that do not list them, which are those up to v7.
UNLISTED = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip
UNLISTED_VERSIONS = ("v1", "v2", "v3", "v7")
FILLER = "<SPECIAL_{id}>"  # the text of a special token that nothing names
BOS, EOS = "<s>", "</s>"
MOST_TOKENS = 2**24


@dataclass(frozen=True, slots=True)
class TekkenFile:
    """What the file says: each token's id by its bytes, special tokens by id, and how text is cut."""

    ids: Mapping[bytes, int]
    special: Sequence[str]
    pattern: str
    version: str | None


def tokenizer_from_tekken(path: Path, named: Named) -> Tokenizer:
    """Build the tokenizer of a tekken.json; `named` is what the files beside it say. Raises TokenizerError."""
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise _fault(path, f"it cannot be read ({problem.strerror})", "a file that you may read") from problem
    file = _read(raw, path)
    added = [AddedToken(token, text, control=True, hidden=True) for token, text in enumerate(file.special)]
    by_text = {text: token for token, text in enumerate(file.special)}
    speller = RankSpeller(file.ids, file.pattern)
    return Tokenizer(
        Spelling(speller, speller),
        bytes_of=[*(text.encode() for text in file.special), *sorted(file.ids, key=file.ids.__getitem__)].__getitem__,
        vocabulary_size=len(file.special) + len(file.ids),
        added=added,
        special=special_ids(
            added,
            bos=by_text.get(named.bos or BOS),
            eos=by_text.get(named.eos or EOS),
            ends=named.ends,
            adds_bos=named.adds_bos is not False,
        ),
        source=lambda: ["tekken.json", hashlib.sha256(raw).hexdigest()],
        prompt_version=file.version,
    )


def _read(raw: bytes, path: Path) -> TekkenFile:
    try:
        file = json.loads(raw)
        config = file["config"]
        pattern, size = config["pattern"], _count(config["default_vocab_size"])
        specials = _count(config["default_num_special_tokens"])
        entries = file["vocab"][: size - specials]
        ids = {binascii.a2b_base64(each["token_bytes"]): specials + _count(each["rank"]) for each in entries}
        listed = file.get("special_tokens")
        if listed is None and config.get("version") in UNLISTED_VERSIONS:
            listed = [{"rank": token, "token_str": text} for token, text in enumerate(UNLISTED)]
        texts = {_count(each["rank"]): str(each["token_str"]) for each in listed}
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as problem:
        raise _fault(
            path, f"it lacks the shape of a tokenizer ({problem!r:.80})", "config, vocab and special tokens"
        ) from problem
    if pattern != PRE_TOKENIZERS["tekken"].cuts[0]:
        raise _fault(path, f"it cuts text by the pattern {pattern!r:.60}", "the one that all its versions share")
    named = [texts.get(token, FILLER.format(id=token)) for token in range(specials)]
    if max(texts, default=0) >= specials or len(set(named)) != specials or len(texts) != len(listed):
        raise _fault(path, "its special tokens contradict each other", f"different ones, with ids below {specials}")
    whole = sorted(ids.values()) == list(range(specials, size))
    if not whole or any(ids.get(bytes([byte])) != specials + byte for byte in range(256)):
        raise _fault(
            path, f"it has {len(ids)} different tokens", f"every rank below {size - specials} once, the bytes first"
        )
    version = config.get("version")
    return TekkenFile(ids, named, pattern, version if isinstance(version, str) else None)


def _count(value: Any) -> int:
    """A whole number of a size that vocabularies have. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{value!r:.40} is not a number of tokens")
    return value


def _fault(path: Path, what: str, expected: str) -> TokenizerError:
    return TokenizerError(f"reading {path}: {what}, expected {expected}; fetch the file again, or use tokenizer.json.")
