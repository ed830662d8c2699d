"""Which of a folder's files describes the tokenizer."""

from pathlib import Path

from ouvert.tokenization.errors import TokenizerError
from ouvert.tokenization.named import named_tokens
from ouvert.tokenization.ranks import RANK_FILES, tokenizer_from_ranks
from ouvert.tokenization.sentencepiece_model import tokenizer_from_sentencepiece
from ouvert.tokenization.tekken import tokenizer_from_tekken
from ouvert.tokenization.tokenizer import Tokenizer
from ouvert.tokenization.tokenizer_json import tokenizer_from_json


def tokenizer_from_folder(folder: Path) -> Tokenizer:
    """Build the tokenizer of a model folder.

    tokenizer.json is taken if there is one, else tokenizer.model (SentencePiece), else tekken.json (Mistral), else a
    tiktoken-style file. What tokenizer_config.json, special_tokens_map.json, added_tokens.json and
    generation_config.json say is honoured in each case. Raises TokenizerError if there is none of these, or one that
    cannot be used.
    """
    if (path := folder / "tokenizer.json").is_file():
        return tokenizer_from_json(path, named_tokens(folder))
    if (path := folder / "tokenizer.model").is_file():
        return tokenizer_from_sentencepiece(path, named_tokens(folder))
    if (path := folder / "tekken.json").is_file():
        return tokenizer_from_tekken(path, named_tokens(folder))
    for name in RANK_FILES:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return tokenizer_from_ranks(path)
    raise TokenizerError(
        f"reading the tokenizer of {folder}: none of tokenizer.json, tokenizer.model, tekken.json, "
        f"{', '.join(RANK_FILES)} is there; fetch one of them from where the weights came from."
    )
