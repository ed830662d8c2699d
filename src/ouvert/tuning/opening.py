"""The model that learns: its weights as they are served, from the same packed file, and what its files say besides."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert import kernels
from ouvert.chat import ChatFormat, Language
from ouvert.models import Model, adaptable
from ouvert.packed import AskedPrecision, PackedFile, PlacedModel, Precision, open_model
from ouvert.tuning.error import TuningError
from ouvert.weights import combined_digest, sha256_of

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """A model as it is served, in this process: weights, programs, and how it reads and writes.

    `open_base` makes one. `threads` compute. `context`: most tokens of a sequence. `exact`: activations in float32.
    Its properties raise what reading the model's files raises (ChatError, TokenizerError).
    """

    name: str
    model: Model
    programs: kernels.Programs
    threads: int
    exact: bool
    context: int
    weights_digest: str
    language: Language
    placed: PlacedModel

    @property
    def packed_digest(self) -> str | None:
        """That of the packed file's pieces; None where the weights are in memory. Raises nothing."""
        return self.placed.packed_digest

    @property
    def precision(self) -> Precision:
        """To how many bits the weights are rounded. Raises nothing."""
        return self.placed.precision

    @property
    def tokenizer(self) -> "Tokenizer":
        """How text becomes ids."""
        return self.language.tokenizer

    @property
    def chat_format(self) -> ChatFormat:
        """How conversations are written."""
        return self.language.chat_format

    @property
    def facts(self) -> Mapping[str, Any]:
        """The `base` of an adapter's record (docs/formats/adapter.md)."""
        return {
            "name": self.name,
            "family": self.model.family.name,
            "weights": self.weights_digest,
            "tokenizer": self.tokenizer.digest,
            "format": self.chat_format.digest,
            "stop_ids": sorted(self.chat_format.stop_ids),
        }

    def refuse_damage(self) -> None:
        """Raises TuningError where the packed file is found to be damaged."""
        if (damage := self.placed.watch.fault()) is not None:
            raise TuningError(f"learning with {self.name}: {damage.what}. {damage.remedy}")

    def close(self) -> None:
        """Let go of programs and weights. Raises nothing."""
        self.programs.close()
        self.placed.close()


def open_base(
    path: Path,
    *,
    threads: int,
    name: str | None = None,
    packed: PackedFile | None = None,
    precision: AskedPrecision | None = None,
    exact: bool = False,
    cache: kernels.CacheType = "f16",
    template: str | None = None,
) -> Base:
    """The model at `path`, a GGUF or safetensors file or a folder with one, placed as it is served.

    `packed`: where its packed form is kept, written now if it is not there; left out, weights are packed into memory.
    `precision`, `exact` and `cache` are those with which it is served: left out, the usual ones, as
    `engine.open_engine` has them; only then are log-probabilities those of the server. `name` is for people, `template`
    the chat template that takes the place of its own.

    Raises CheckpointError for files that cannot be used, TuningError for a model that cannot learn: one that makes
    embeddings, or of a family without a backward pass. ImportError without the native kernels.
    """
    with ExitStack() as undone, open_model(path) as files:
        family = files.family
        if family.embeds:
            raise TuningError(
                f"tuning {name or path}: it makes embeddings, expected a model that writes text. Choose one of those."
            )
        if packed is None:
            placed = files.place_in_memory(threads, precision)
        else:
            placed = files.place_packed(packed, threads, precision)
        undone.callback(placed.close)
        if not adaptable(placed.model):
            raise TuningError(
                f"tuning {name or path}: it is of the family {family.name}, whose scan has no backward pass yet, "
                "expected a transformer (llama, qwen2, qwen3, qwen3_moe, mixtral, gpt_oss, deepseek_v3). Choose one."
            )
        if packed is None:
            digest = combined_digest({file.name: sha256_of(file) for file in files.checkpoint.files})
        else:
            digest = packed.source_digest
        programs = kernels.Programs(placed.model, threads=threads, exact=exact, cache=cache)
        placed.watch.start()
        undone.pop_all()
        return Base(
            name=name or path.stem,
            model=placed.model,
            programs=programs,
            threads=threads,
            exact=exact,
            context=files.trained_context,
            weights_digest=digest,
            language=Language(name or path.stem, family.name, files.metadata, files.folder, template),
            placed=placed,
        )
