"""The `tokenizers` library, set up to spell plain text and nothing else.

It never sees a control token: those are left out of its vocabulary, so no text can come out as one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers


def byte_level(
    cuts: Sequence[str],
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    words: Iterable[str],
    whole_words_first: bool,
    normal_form: str | None,
) -> "tokenizers.Tokenizer":
    """Byte-level BPE. `words` are entries of the vocabulary matched whole before text is cut."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    built = Tokenizer(models.BPE(dict(vocabulary), list(merges), ignore_merges=whole_words_first))
    if normal_form == "NFC":
        built.normalizer = normalizers.NFC()
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(cut), "isolated") for cut in cuts),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.add_tokens([AddedToken(word, normalized=False) for word in words])
    return built


def sentencepiece(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    words: Iterable[str],
    adds_prefix: bool,
) -> "tokenizers.Tokenizer":
    """SentencePiece's BPE: spaces are written ▁, characters that are no piece fall back to bytes."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers

    built = Tokenizer(models.BPE(dict(vocabulary), list(merges), byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if adds_prefix else []
    built.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    built.add_tokens([AddedToken(word, normalized=False) for word in words])
    return built
