"""Byte-level BPE spells every byte as one printable character; this is that alphabet.

Source: `bytes_to_unicode` in OpenAI's GPT-2 (github.com/openai/gpt-2, src/encoder.py): printable Latin-1 bytes stand
for themselves, the other 68 take the characters from U+0100 on, in order.
"""

PRINTABLE = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])


def _alphabet() -> dict[int, str]:
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    return {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}


CHARACTER_OF_BYTE = _alphabet()
BYTE_OF_CHARACTER = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}
_TO_CHARACTERS = {byte: ord(character) for byte, character in CHARACTER_OF_BYTE.items()}


def spelled(token: bytes) -> str:
    """The token as byte-level vocabularies write it: one character a byte."""
    return token.decode("latin-1").translate(_TO_CHARACTERS)


def unspelled(token: str) -> bytes:
    """The bytes a vocabulary entry stands for. An entry with characters outside the alphabet stands for itself.

    Lone surrogates are bytes that were no UTF-8 (PEP 383).
    """
    try:
        return bytes(map(BYTE_OF_CHARACTER.__getitem__, token))
    except KeyError:
        return token.encode(errors="surrogateescape")
