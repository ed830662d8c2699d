"""A model whose weights compute in another program: its files say what it is, and how text becomes token ids."""

from collections.abc import Callable
from dataclasses import dataclass

from ouvert.chat import Language
from ouvert.engine import Engine, Opened, describe_files, opened_elsewhere
from ouvert.store import Installed, Progress, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """The model that is meant, so that what computes elsewhere can be compared with it. Digests are "sha256:<hex>".

    `tokenize` gives the ids of a text, nothing added.
    """

    name: str
    weights_digest: str
    vocabulary_size: int
    tokenizer_digest: str
    tokenize: Callable[[str], list[int]]


# Makes the engine that stands for the other program. Raises EngineError where that computes another model.
Elsewhere = Callable[[Meant], Engine]


def open_elsewhere(store: Store, installed: Installed, elsewhere: Elsewhere, progress: Progress) -> Opened:
    """Raises what `Elsewhere` raises, StoreError for files that are not what they were, CheckpointError for some that
    cannot be used, TokenizerError if the tokenizer cannot be read, ChatError where there is none."""
    digest = store.weights_digest(installed, progress)
    said = describe_files(installed.path)
    tokenizer = Language(installed.name, said.family, said.metadata, said.folder, None).tokenizer
    engine = elsewhere(
        Meant(
            name=installed.name,
            weights_digest=digest,
            vocabulary_size=said.vocabulary_size,
            tokenizer_digest=tokenizer.digest,
            tokenize=tokenizer.encode,
        )
    )
    try:
        return opened_elsewhere(installed.path, engine, digest)
    except BaseException:
        engine.close()
        raise
