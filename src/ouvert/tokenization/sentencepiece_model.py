"""Tokenizers out of tokenizer.model, SentencePiece's own file: a protocol buffer, of which a few fields matter.

Source: github.com/google/sentencepiece, src/sentencepiece_model.proto (field numbers and defaults);
protobuf.dev/programming-guides/encoding (the wire format).
"""

import struct
from pathlib import Path

from ouvert.tokenization import sentencepiece
from ouvert.tokenization.added import AddedToken, is_control
from ouvert.tokenization.endings import END_OF_TURN
from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.named import Named
from ouvert.tokenization.special import special_ids
from ouvert.tokenization.tokenizer import Tokenizer

# ModelProto
PIECES, TRAINER, NORMALIZER = 1, 2, 3
# ModelProto.SentencePiece
TEXT, SCORE, KIND = 1, 2, 3
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# TrainerSpec
MODEL_TYPE, SPACE_AS_SUFFIX, BOS, EOS = 3, 24, 41, 42
BPE = 2
# NormalizerSpec
CHARACTER_MAP, ADDS_PREFIX, DROPS_SPACES, ESCAPES_SPACES = 2, 3, 4, 5


Piece = tuple[str, float, int]  # text, score, kind


def tokenizer_from_sentencepiece(path: Path, named: Named) -> Tokenizer:
    """Build the tokenizer of a tokenizer.model; `named` is what the files beside it say. Raises TokenizerError."""
    pieces, trainer, normalizer = _read(path)
    added = _added(pieces, named)
    size = max(len(pieces), max((token.id for token in added), default=-1) + 1)
    ids = {text: token for token, (text, _, _) in enumerate(pieces)} | {token.text: token.id for token in added}
    return sentencepiece.build(
        pieces={text: (token, score) for token, (text, score, kind) in enumerate(pieces) if kind == NORMAL},
        bytes_={text: token for token, (text, _, kind) in enumerate(pieces) if kind == BYTE},
        added=added,
        vocabulary_size=size,
        adds_prefix=bool(normalizer.get(ADDS_PREFIX, 1)),
        special=special_ids(
            added,
            bos=ids.get(named.bos) if named.bos else _inside(trainer.get(BOS, 1), size),
            eos=ids.get(named.eos) if named.eos else _inside(trainer.get(EOS, 2), size),
            ends=named.ends,
            adds_bos=named.adds_bos is not False,
        ),
    )


def _read(path: Path) -> tuple[list[Piece], dict[int, int], dict[int, int]]:
    """The pieces, and the numbers of the trainer's and the normalizer's settings.

    Raises TokenizerError for a file that is none, and for settings that change ids in ways we do not have.
    """
    try:
        _, message = _fields(path.read_bytes())
        pieces = [_piece(raw) for raw in message[PIECES]]
        trainer, _ = _fields(message[TRAINER][-1])
        normalizer, texts = _fields(message[NORMALIZER][-1])
    except (IndexError, KeyError, struct.error, ValueError) as problem:
        raise _fault(
            path, f"it is not a SentencePiece model ({problem!r})", "one, or tokenizer.json beside it"
        ) from None
    if trainer.get(MODEL_TYPE, 1) != BPE:
        raise _fault(path, f"its model type is {trainer.get(MODEL_TYPE, 1)}", f"{BPE} (BPE)")
    if trainer.get(SPACE_AS_SUFFIX, 0):
        raise _fault(path, "it writes spaces after words", "spaces before words")
    if any(texts.get(CHARACTER_MAP, ())) or normalizer.get(DROPS_SPACES, 1) or not normalizer.get(ESCAPES_SPACES, 1):
        raise _fault(path, "it changes text before cutting it (a character map, or spaces dropped)", "text as it is")
    if any(kind == UNUSED for _, _, kind in pieces):
        raise _fault(path, "some pieces are marked unused", "every piece in use")
    return pieces, trainer, normalizer


def _added(pieces: list[Piece], named: Named) -> list[AddedToken]:
    """Every token that is matched whole: the model's own, and those that the files beside it add or call otherwise."""
    added = {}
    for token, (text, _, kind) in enumerate(pieces):
        special = kind in (CONTROL, UNKNOWN) or text in END_OF_TURN
        if special or kind == USER_DEFINED:
            added[token] = AddedToken(token, text, control=is_control(text, special=special), hidden=special)
    for token, entry in named.added.items():
        added[token] = AddedToken(
            token, entry.text, control=is_control(entry.text, special=entry.special), hidden=entry.special
        )
    return list(added.values())


def _fault(path: Path, given: str, expected: str) -> TokenizerError:
    return TokenizerError(
        f"reading {path}: {given}, expected {expected}; fetch the file again, or use a model of a family Ouvert runs."
    )


def _inside(token: int, size: int) -> int | None:
    """None stands for a token that is switched off; the file says so with -1, which reads as a huge number."""
    return token if token < size else None


def _fields(raw: bytes) -> tuple[dict[int, int], dict[int, list[bytes]]]:
    """A message's whole numbers (the last of each field counts), and all its other values as their bytes."""
    numbers: dict[int, int] = {}
    chunks: dict[int, list[bytes]] = {}
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        match key & 7:
            case 0:
                numbers[key >> 3], at = _varint(raw, at)
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(raw, at)
            case 5:
                size = 4
            case kind:
                raise ValueError(f"wire type {kind} before byte {at}")
        if at + size > len(raw):
            raise ValueError(f"a field of {size} bytes at byte {at} of {len(raw)}")
        chunks.setdefault(key >> 3, []).append(raw[at : at + size])
        at += size
    return numbers, chunks


def _piece(raw: bytes) -> tuple[str, float, int]:
    numbers, chunks = _fields(raw)
    score = struct.unpack("<f", chunks.get(SCORE, [bytes(4)])[-1])[0]
    return chunks[TEXT][-1].decode(), score, numbers.get(KIND, NORMAL)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than ten bytes before byte {at}")
