"""What commands of tuning need of the data: where it is, the recipe, and how the model that it is for reads."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ouvert.chat import ChatFormat
    from ouvert.store import Installed, Store
    from ouvert.tokenization import Tokenizer
    from ouvert.tuning import Recipe

CORRECTIONS = "corrections"  # the word that stands for the answers that the owner corrected


@dataclass(frozen=True, slots=True)
class Reader:
    """How a model reads: `chat` is None for one that only continues texts; `context` is the longest sequence that its
    makers promise."""

    name: str
    chat: "ChatFormat | None"
    tokenizer: "Tokenizer"
    context: int


def reader_of(installed: "Installed", template: str | None = None) -> Reader:
    """Reads no weights. Raises CheckpointError and TokenizerError for files that cannot be used, ChatError for a model
    without a tokenizer, and for a template that was chosen and cannot be used."""
    from ouvert.chat import ChatError, Language
    from ouvert.packed import open_model

    with open_model(installed.path) as files:
        language = Language(installed.name, files.family.name, files.metadata, files.folder, template)
        tokenizer, context = language.tokenizer, files.trained_context
        try:
            chat = language.chat_format
        except ChatError:
            if template is not None:
                raise
            chat = None
    return Reader(installed.name, chat, tokenizer, context)


def recipe_of(args: argparse.Namespace) -> "Recipe":
    """The recipe, with what the command line says instead. Raises TuningError."""
    from ouvert.tuning import OPTIONS, Recipe, judges_of, read_recipe, with_options

    recipe = Recipe() if args.recipe is None else read_recipe(args.recipe)
    said = {name: getattr(args, name) for name in OPTIONS if getattr(args, name, None) is not None}
    recipe = with_options(recipe, said | ({"check": False} if args.no_check else {}))
    if recipe.method == "grpo":
        judges_of(recipe.reward.use, owns_files=True)  # wrong ones are said before the model is loaded
    return recipe


def require_length(length: int, reader: Reader) -> None:
    """Raises TuningError for sequences that are longer than the model reads."""
    from ouvert.tuning import TuningError

    if length > reader.context:
        raise TuningError(
            f"length = {length}, and {reader.name} reads {reader.context} tokens at most. Set [data] length "
            f"(--length) to {reader.context} or less."
        )


def data_file(named: str, store: "Store", copies: Path) -> Path:
    """The file that is meant: "corrections" are the owner's, copied into the folder `copies`; where a file of that name
    is here, `./corrections` means it. Raises StoreError where there are no corrections."""
    from ouvert.store import Corrections

    if named != CORRECTIONS:
        return Path(named)
    path = copies / f"{CORRECTIONS}.jsonl"
    Corrections(store.home).export(path, replace=True)
    return path
