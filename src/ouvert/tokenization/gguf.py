"""Tokenizers out of a GGUF file's metadata (the keys `tokenizer.ggml.*`).

Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md) and what llama.cpp does with the keys.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ouvert.tokenization import byte_level, library, sentencepiece
from ouvert.tokenization.added import AddedToken, control_tokens, is_control
from ouvert.tokenization.endings import END_OF_TURN
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from ouvert.tokenization.special import SpecialIds, special_ids
from ouvert.tokenization.tokenizer import Spelling, Tokenizer

# Values of tokenizer.ggml.token_type (llama.h, enum llama_token_type).
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Keys that name where an answer ends. The last is a list, which Ollama's converter writes.
END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id", "eos_token_ids")


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Build the tokenizer that a GGUF file describes.

    `metadata` maps the file's keys to Python values; other keys than `tokenizer.ggml.*` are not looked at. Raises
    TokenizerError if the file has no tokenizer, or one we do not know, or one that contradicts itself.
    """
    keys = _Keys(metadata)
    model = keys.text("model")
    match model:
        case "gpt2":
            return _byte_level(keys)
        case "llama":
            return _sentencepiece(keys)
    if model is None:
        raise TokenizerError(
            "reading a tokenizer from GGUF metadata: there is no tokenizer.ggml.model, expected a file that carries "
            "its tokenizer; use a file converted with its vocabulary, or give token ids instead of text."
        )
    raise TokenizerError(
        f"reading a tokenizer from GGUF metadata: tokenizer.ggml.model is {model!r}, expected 'gpt2' (byte-level BPE) "
        "or 'llama' (SentencePiece BPE); use a model of a family that Ouvert runs."
    )


class _Keys:
    """The tokenizer's keys, checked as they are read."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    def __getitem__(self, key: str) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{key}")

    def text(self, key: str) -> str | None:
        value = self[key]
        if value is not None and not isinstance(value, str):
            raise _contradiction(f"{key} is {type(value).__name__}", "text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self[key]
        return default if value is None else bool(value)

    def id(self, key: str, tokens: Sequence[str]) -> int | None:
        """A token's number, or None. Of several, the first."""
        value = self[key]
        return self._place(value[0] if isinstance(value, list) and value else value, key, tokens)

    def _place(self, value: Any, key: str, tokens: Sequence[str]) -> int | None:
        if value is None or value == []:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise _contradiction(f"{key} is {value!r:.40}", "the number of a token")
        # Converters write -1 (or its unsigned twin) for "none".
        return value if 0 <= value < len(tokens) else None

    def tokens(self) -> list[str]:
        tokens = self.texts("tokens")
        if not tokens:
            raise _contradiction("tokens is missing or empty", "the vocabulary")
        seen: set[str] = set()
        if len(set(tokens)) < len(tokens):
            for token in filter(None, tokens):  # places without a token are empty, and no text is spelled with them
                if token in seen:
                    raise _contradiction(f"tokens has {token!r} twice", "every token once")
                seen.add(token)
        return tokens

    def texts(self, key: str) -> list[str]:
        """An array of strings; a key that is not there has none."""
        value = self[key]
        if value is None:
            return []
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or not set(map(type, value)) <= {str}:  # a vocabulary's worth of them: one pass in C
            raise _contradiction(f"{key} holds other things than text", "an array of strings")
        return list(value)

    def ends(self, tokens: Sequence[str]) -> list[int | None]:
        """Where an answer ends, by each of END_KEYS; a key may name one token or several."""
        named: list[int | None] = []
        for key in END_KEYS:
            value = self[key]
            named += [self._place(each, key, tokens) for each in (value if isinstance(value, list) else [value])]
        return named

    def numbers(self, key: str, tokens: Sequence[str], kind: type[int] | type[float]) -> list[Any] | None:
        value = self[key]
        if value is None:
            return None
        if isinstance(value, str) or not hasattr(value, "__len__"):
            raise _contradiction(f"{key} is {value!r:.40}", f"an array of {len(tokens)} numbers")
        if len(value) < len(tokens):  # llama.cpp does not look at more either
            raise _contradiction(f"{key} has {len(value)} entries", f"one for each of the {len(tokens)} tokens")
        value = value[: len(tokens)]
        if {str, list} & set(map(type, value)):
            raise _contradiction(f"{key} holds other things than numbers", "an array of numbers")
        return [kind(number) for number in value]


def _contradiction(given: str, expected: str) -> TokenizerError:
    return TokenizerError(
        f"reading a tokenizer from GGUF metadata: tokenizer.ggml.{given}, expected {expected}; "
        "fetch the file again, or one converted with a newer llama.cpp."
    )


def _added_tokens(tokens: Sequence[str], types: Sequence[int], keys: _Keys) -> list[AddedToken]:
    """Every token that is matched whole. Ends of turns are control tokens even where the file calls them normal."""
    named = {keys.id("bos_token_id", tokens), *keys.ends(tokens)}
    added = []
    for token, (text, kind) in enumerate(zip(tokens, types, strict=True)):
        if not text:
            continue
        if kind in (CONTROL, UNKNOWN) or token in named or text in END_OF_TURN:
            added.append(AddedToken(token, text, control=True, hidden=True))
        elif kind == USER_DEFINED:
            added.append(AddedToken(token, text, control=is_control(text, special=False), hidden=False))
    return added


def _byte_level(keys: _Keys) -> Tokenizer:
    rule = _rule(keys)
    tokens = keys.tokens()
    types = keys.numbers("token_type", tokens, int) or [NORMAL] * len(tokens)
    added = _added_tokens(tokens, types, keys)
    words = [token.text for token in added if not token.control]
    # Converters fill a vocabulary up with tokens that no text has ([PAD151646]), and call them unused.
    unused = {token for token, kind in enumerate(types) if kind == UNUSED}
    never = control_tokens(added).keys() | library.never_spelled(tokens) | {tokens[token] for token in unused}
    vocabulary = {text: token for token, text in enumerate(tokens) if text not in never}
    merges = keys.texts("merges")
    speller = _speller(rule, vocabulary, merges, words, frozenset(never - {""}))
    where = "reading a tokenizer from GGUF metadata: tokenizer.ggml.merges"
    library.check_merges(len(merges), vocabulary, {token.text for token in added}, where)
    return Tokenizer(
        Spelling(speller, speller),
        bytes_of=lambda token: b"" if token in unused else byte_level.unspelled(tokens[token]),
        vocabulary_size=len(tokens),
        added=added,
        special=_special_ids(keys, tokens, added, adds_bos=rule.adds_bos),
        source=lambda: [
            "byte-level BPE", rule.cuts, rule.whole_words_first, rule.normal_form, tokens, types, merges,
        ],
    )  # fmt: skip


def _rule(keys: _Keys) -> PreTokenizer:
    """How text is cut, by the name in tokenizer.ggml.pre."""
    name = keys.text("pre") or "default"
    rule = PRE_TOKENIZERS.get(name)
    if rule is None:
        raise TokenizerError(
            f"reading a tokenizer from GGUF metadata: tokenizer.ggml.pre is {name!r}, expected one of "
            f"{', '.join(PRE_TOKENIZERS)}; with a wrong pre-tokenizer the model would read other text than yours, so "
            "use a model whose pre-tokenizer is known, or its folder with tokenizer.json."
        )
    return rule


def _special_ids(
    keys: _Keys, tokens: Sequence[str], added: Sequence[AddedToken], *, adds_bos: bool, closes: bool = True
) -> SpecialIds:
    """`adds_bos`: what holds where the file does not say. `closes`: whether add_eos_token is honoured."""
    eos = keys.id("eos_token_id", tokens)
    return special_ids(
        added,
        bos=keys.id("bos_token_id", tokens),
        eos=eos,
        ends=keys.ends(tokens),
        adds_bos=keys.flag("add_bos_token", adds_bos),
        closing=eos if closes and keys.flag("add_eos_token", False) else None,
    )


def _speller(
    rule: PreTokenizer,
    vocabulary: Mapping[str, int],
    merges: Sequence[str],
    words: Sequence[str],
    never: frozenset[str],
) -> library.Speller:
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    try:
        return library.byte_level(rule, vocabulary, pairs, words)
    except ValueError:  # perhaps merges that make or use a token that is never spelled: those must go, and only those
        pairs = [pair for pair in pairs if never.isdisjoint({*pair, "".join(pair)})]
    try:
        return library.byte_level(rule, vocabulary, pairs, words)
    except ValueError as problem:
        raise _contradiction(
            f"merges does not fit tokens ({problem})", "pairs of tokens whose union is a third, with a space between"
        ) from problem


def _sentencepiece(keys: _Keys) -> Tokenizer:
    if keys.flag("remove_extra_whitespaces", False) or keys["precompiled_charsmap"] not in (None, []):
        raise _contradiction(
            "remove_extra_whitespaces or precompiled_charsmap is set", "a vocabulary that takes text as it is"
        )
    tokens = keys.tokens()
    types = keys.numbers("token_type", tokens, int)
    scores = keys.numbers("scores", tokens, float)
    if types is None or scores is None:
        raise _contradiction("token_type or scores is missing", "both beside a SentencePiece vocabulary")
    added = _added_tokens(tokens, types, keys)
    return sentencepiece.build(
        pieces={text: (token, scores[token]) for token, text in enumerate(tokens) if types[token] == NORMAL},
        bytes_={text: token for token, text in enumerate(tokens) if types[token] == BYTE},
        added=added,
        vocabulary_size=len(tokens),
        adds_prefix=keys.flag("add_space_prefix", True),
        special=_special_ids(keys, tokens, added, adds_bos=True, closes=False),
    )
