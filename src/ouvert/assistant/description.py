"""What a model is and can do, from its files alone: nothing is loaded."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from ouvert.assistant.sampling import SMALL
from ouvert.chat import Abilities, ChatError, Language
from ouvert.engine import describe_files
from ouvert.store import Installed


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`context`: the most tokens the model was made for. `abilities`: None of a model that holds no conversations.

    `embedding_size`: None of one that writes text. `control_tokens`: the texts that steer it.
    """

    family: str
    parameters: int
    context: int
    vocabulary_size: int
    embedding_size: int | None
    abilities: Abilities | None
    control_tokens: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a list of models says of one that is not loaded; its tokenizer is not read for that. `has_experts`: they can
    stay on disk where memory is short."""

    family: str
    parameters: int
    context: int
    writes_text: bool
    has_experts: bool


@lru_cache(maxsize=256)
def size_of(installed: Installed) -> Size:
    """Raises CheckpointError for files that cannot be used."""
    files = describe_files(installed.path)
    return Size(
        family=files.family,
        parameters=files.parameters,
        context=files.trained_context,
        writes_text=files.embedding_size is None,
        has_experts=files.has_experts,
    )


def is_toy(parameters: int) -> bool:
    """Whether a model of so many parameters is for trying things out: what it says is often wrong. Raises nothing."""
    return parameters < SMALL


def describe(installed: Installed, template: str | None = None) -> Description:
    """What the files say. `template` is that of `load`.

    Raises CheckpointError for files that cannot be used, TokenizerError for a tokenizer that cannot be read.
    """
    files = describe_files(installed.path)
    language = Language(installed.name, files.family, files.metadata, files.folder, template)
    abilities = None
    control_tokens: frozenset[str] = frozenset()
    with suppress(ChatError):  # one without a tokenizer, or a template, does without
        control_tokens = frozenset(language.tokenizer.control_tokens)
        abilities = language.chat_format.abilities if files.embedding_size is None else None
    return Description(
        family=files.family,
        parameters=files.parameters,
        context=files.trained_context,
        vocabulary_size=files.vocabulary_size,
        embedding_size=files.embedding_size,
        abilities=abilities,
        control_tokens=control_tokens,
    )
