"""SentencePiece's BPE vocabularies: scored pieces, ▁ for a space, bytes as <0x00> to <0xFF>.

Source: github.com/google/sentencepiece, src/bpe_model.cc (how pieces merge) and src/sentencepiece_model.proto.
"""

import re
from collections.abc import Iterable, Mapping

from ouvert.tokenization import library
from ouvert.tokenization.added import AddedToken, control_tokens
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.special import SpecialIds
from ouvert.tokenization.tokenizer import Spelling, Tokenizer

SPACE = "▁"
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
LONGEST_PIECE = 512  # characters; trainers stop at 16 unless told otherwise


def merges_of(pieces: Mapping[str, tuple[int, float]]) -> list[tuple[str, str]]:
    """Pairs of pieces that make a piece, best score first: the order in which SentencePiece joins neighbours.

    `pieces` maps text to (id, score).
    """
    pairs = []
    for text, (token, score) in pieces.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in pieces and right in pieces:
                pairs.append((-score, token, pieces[left][0], pieces[right][0], left, right))
    pairs.sort()
    return [(left, right) for *_, left, right in pairs]


def build(
    *,
    pieces: Mapping[str, tuple[int, float]],
    bytes_: Mapping[str, int],
    added: list[AddedToken],
    vocabulary_size: int,
    adds_prefix: bool,
    special: SpecialIds,
) -> Tokenizer:
    """A tokenizer from pieces (text to id and score), byte pieces (text to id) and tokens matched whole."""
    byte_of = {token: int(match[1], 16) for text, token in bytes_.items() if (match := BYTE_PIECE.fullmatch(text))}
    require_all_bytes(byte_of.values())
    require_short_pieces(pieces)
    controls = control_tokens(added).keys()
    words = {token.text: token.id for token in added if not token.control}
    text_of = {token: text for text, (token, _) in pieces.items() if text not in controls}
    never = controls | library.never_spelled([*pieces])
    pieces = {text: entry for text, entry in pieces.items() if text not in never}
    speller = library.sentencepiece(
        {text: token for text, (token, _) in pieces.items()} | dict(bytes_) | words,
        merges_of(pieces),
        words=words,
        adds_prefix=adds_prefix,
    )

    def bytes_of(token: int) -> bytes:
        if token in byte_of:
            return bytes([byte_of[token]])
        return text_of.get(token, "").replace(SPACE, " ").encode(errors="surrogateescape")

    return Tokenizer(
        Spelling(speller, speller, "every piece" if adds_prefix else "never"),
        bytes_of=bytes_of,
        vocabulary_size=vocabulary_size,
        added=added,
        special=special,
        source=lambda: ["SentencePiece BPE", sorted(pieces.items()), sorted(bytes_.items()), adds_prefix],
    )


def require_all_bytes(present: Iterable[int]) -> None:
    """Raise TokenizerError unless every byte has a piece."""
    if missing := set(range(256)).difference(present):
        raise TokenizerError(
            f"building a SentencePiece tokenizer: {len(missing)} of the 256 byte pieces are missing (first: "
            f"<0x{min(missing):02X}>), expected a vocabulary that can spell every text; use a model trained with "
            "byte fallback, as Llama 2 and Mixtral are."
        )


def require_short_pieces(pieces: Iterable[str]) -> None:
    """Raise TokenizerError for a piece longer than LONGEST_PIECE."""
    if too_long := [text for text in pieces if len(text) > LONGEST_PIECE]:
        raise TokenizerError(
            f"building a SentencePiece tokenizer: a piece has {len(too_long[0])} characters, expected at most "
            f"{LONGEST_PIECE}; the vocabulary is damaged, fetch it again."
        )
