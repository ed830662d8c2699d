"""A tokenizer's words for the engine, which knows no text: the bytes of each token."""

from ouvert.engine import Vocabulary
from ouvert.tokenization import Tokenizer


def vocabulary_of(tokenizer: Tokenizer, size: int) -> Vocabulary:
    """`size` is the model's: rows of logits beyond the tokenizer's own vocabulary stand for no text.

    A space that the tokenizer puts before a text is not part of the text here: grammars speak of the middle of an
    answer.
    """
    tokens = [tokenizer.token_bytes(token) for token in range(size)]
    anchor = next(iter(tokenizer.control_tokens.values()), None)

    def encode(text: str) -> list[int]:
        if anchor is None:
            return tokenizer.encode(text)
        return tokenizer.encode_parts([anchor, text])[1:]

    return Vocabulary(tokens, tokenizer.control_ids, encode)
