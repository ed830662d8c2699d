"""The `tokenizers` library, set up to spell plain text and nothing else.

It never sees a control token: those are left out of its vocabulary, so no text can come out as one.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.pretokenizers import PreTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer, models

Speller = Callable[[str], list[int]]
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
LONG_TEXT = 10_000  # characters; some ten milliseconds
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # of an added token, in a tokenizer.json


def check_merges(merges: int, vocabulary: Iterable[str], words: Collection[str], where: str) -> None:
    """Raise TokenizerError for a BPE vocabulary most of whose tokens no merge could make.

    `words` are matched whole and need none. A file that lost its merges would be read byte by byte, and answered so.
    """
    made = len({text for text in vocabulary if text[1:]}.difference(words))
    if 2 * merges < made:
        raise TokenizerError(
            f"{where} has {merges} pairs, expected about one for each of {made} tokens of several characters, which "
            "only merges make: without them texts fall to pieces that the model was not trained on. Fetch the model "
            "from where its tokenizer is whole, or convert it again with its merges."
        )


def never_spelled(tokens: Sequence[str]) -> frozenset[str]:
    """The entries that no text is spelled with: places without a token, and bytes that are no UTF-8 (PEP 383)."""
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError:
        return frozenset({"", *filter(LONE_SURROGATE.search, tokens)})
    return frozenset({""})


def byte_level(
    rule: PreTokenizer, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], words: Sequence[str]
) -> Speller:
    """Byte-level BPE. `words` are entries of the vocabulary matched whole before text is cut.

    Raises ValueError if a merge names what the vocabulary lacks.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    try:
        model = models.BPE(dict(vocabulary), list(merges), ignore_merges=rule.whole_words_first)
    except Exception as problem:  # the library raises nothing narrower
        raise ValueError(str(problem)) from problem
    built = Tokenizer(model)
    if rule.normal_form == "NFC":
        built.normalizer = normalizers.NFC()
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(cut), "isolated") for cut in rule.cuts),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.add_tokens([AddedToken(word, normalized=False) for word in words])
    return speller(built)


def sentencepiece(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, words: Iterable[str], adds_prefix: bool
) -> Speller:
    """SentencePiece's BPE: spaces are written ▁, characters that are no piece fall back to bytes."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers

    built = Tokenizer(models.BPE(dict(vocabulary), list(merges), byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if adds_prefix else []
    built.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    built.add_tokens([AddedToken(word, normalized=False) for word in words])
    return speller(built)


def bpe(description: Mapping[str, Any]) -> "models.BPE":
    """The model of a tokenizer.json, as its JSON describes it. Raises ValueError if the library cannot take it.

    Handed over as it is: the library takes twice as long to read 400,000 merges out of a text.
    """
    from tokenizers import models

    merges = description.get("merges") or []
    try:
        return models.BPE(
            description["vocab"],
            [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges],
            unk_token=description.get("unk_token"),
            fuse_unk=bool(description.get("fuse_unk", False)),
            byte_fallback=bool(description.get("byte_fallback", False)),
            ignore_merges=bool(description.get("ignore_merges", False)),
        )
    except Exception as problem:  # the library raises nothing narrower
        raise ValueError(str(problem)) from problem


def described(description: Mapping[str, Any], model: "models.BPE") -> Speller:
    """What a tokenizer.json describes, around its model. Its added tokens are entries of the model's vocabulary.

    Raises ValueError if the library cannot take it.
    """
    from tokenizers import AddedToken, Tokenizer

    around = {**description, "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    try:
        built = Tokenizer.from_str(json.dumps(around, ensure_ascii=False))
        built.model = model
        for entry in description["added_tokens"]:
            flags = {name: bool(entry[name]) for name in FLAGS if name in entry}
            add = built.add_special_tokens if entry.get("special") else built.add_tokens
            add([AddedToken(entry["content"], **flags)])
    except Exception as problem:  # the library raises nothing narrower
        raise ValueError(str(problem)) from problem
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":  # a fault in Rust, which is no Exception and has no public class
            raise
        raise ValueError(str(problem)) from problem
    return speller(built)


def speller(built: "Tokenizer") -> Speller:
    """The same ids either way. The library's way for many texts lets other threads work meanwhile, its way for one does
    not; but it takes longer to begin."""

    def spelled(text: str) -> list[int]:
        if len(text) < LONG_TEXT:
            return list(built.encode(text, add_special_tokens=False).ids)
        return list(built.encode_batch_fast([text], add_special_tokens=False)[0].ids)

    return spelled


def cutter(pattern: str) -> Callable[[str], list[str]]:
    """Text to words: the matches of the pattern and what lies between them."""
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return lambda text: [word for word, _ in split.pre_tokenize_str(text)]
