"""Text to token ids and back; a streaming decoder that never splits a character. Imports nothing of ours.

The library that merges (`tokenizers`) is imported when the first tokenizer is built, not before.
"""

from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.folder import tokenizer_from_folder
from ouvert.tokenization.gguf import tokenizer_from_gguf
from ouvert.tokenization.ranks import tokenizer_from_ranks
from ouvert.tokenization.streaming import StreamingDecoder
from ouvert.tokenization.tokenizer import Tokenizer

__all__ = [
    "StreamingDecoder",
    "Tokenizer",
    "TokenizerError",
    "tokenizer_from_folder",
    "tokenizer_from_gguf",
    "tokenizer_from_ranks",
]
