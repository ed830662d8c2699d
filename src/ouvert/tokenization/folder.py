"""Which of a folder's files describes the tokenizer."""

import re
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

    tokenizer.json is taken if there is one, else tokenizer.model (SentencePiece; Mistral's tokenizer.model.v3 and other
    versions, of which the latest), else tekken.json (Mistral), else a
    tiktoken-style file. What tokenizer_config.json, special_tokens_map.json, added_tokens.json and
    generation_config.json say is honoured in each case. Raises TokenizerError if there is none of these, or one that
    cannot be used.
    """
    if (path := folder / "tokenizer.json").is_file():
        return tokenizer_from_json(path, named_tokens(folder))
    if (model := sentencepiece_in(folder)) is not None:
        return tokenizer_from_sentencepiece(model, named_tokens(folder))
    if (path := folder / "tekken.json").is_file():
        return tokenizer_from_tekken(path, named_tokens(folder))
    for name in RANK_FILES:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return tokenizer_from_ranks(path)
    raise TokenizerError(
        f"reading the tokenizer of {folder}: none of tokenizer.json, tokenizer.model, tokenizer.model.vN, tekken.json, "
        f"{', '.join(RANK_FILES)} is there; fetch one of them from where the weights came from."
    )


def sentencepiece_in(folder: Path) -> Path | None:
    """tokenizer.model, else the latest of tokenizer.model.v1, tokenizer.model.v2, … None if there is none."""
    if (path := folder / "tokenizer.model").is_file():
        return path
    versions = {path: re.fullmatch(r"tokenizer\.model\.v(\d{1,6})", path.name) for path in folder.iterdir()}
    found = {path: int(match[1]) for path, match in versions.items() if match is not None and path.is_file()}
    return max(found, key=lambda path: found[path], default=None)
