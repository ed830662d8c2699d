"""A model as it serves: the weights, and how they compute. What every look inside begins with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, Protocol

import numpy as np

from ouvert import kernels
from ouvert.chat import ChatError
from ouvert.inspection.error import InspectionError
from ouvert.models import Model, NamedValue, shown_by
from ouvert.tokenization import Tokenizer, TokenizerError

Array = np.ndarray[Any, np.dtype[Any]]
Wanted = Literal["all", "none"]  # rows of logits

# What one step keeps of its tokens: logits and watched values.
STEP_BYTES = 96_000_000
LEAST_STEP, MOST_STEP = 8, 256  # tokens of one step

# Each view, and the value that a family must show to have it.
VIEWS = {
    "confidence": "logits",
    "lens": "logits",
    "focus": "logits",
    "attribution": "logits",
    "attention": "attention.weights",
    "experts": "experts.chosen",
    "states": "mixer.state_norm",
    "hidden_attention": "mixer.scanned",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model whose inside is looked at: the weights that serve, and how they compute.

    `facts` say of which model, weights and build a trace is, as a trace's JSON has it (docs/formats/trace.md). `exact`
    and `cache_type` are those of the engine: with them every number is the one that the engine computes.
    """

    name: str
    model: Model
    threads: int
    exact: bool
    cache_type: kernels.CacheType
    facts: Mapping[str, Any]
    tokenizer: Tokenizer | None

    @property
    def family(self) -> str:
        """The family's name. Raises nothing."""
        return self.model.family.name

    @property
    def layers(self) -> int:
        """How many layers it has. Raises nothing."""
        return int(self.model.config.num_hidden_layers)

    @property
    def names(self) -> dict[str, NamedValue]:
        """Every named value that it shows, with its row of `models.TAPS`. Raises nothing."""
        return dict(shown_by(self.family, self.model.config))

    def width(self, name: str, tokens: int) -> int:
        """How many numbers a token has of this value, in a sequence of so many `tokens`. Raises KeyError for a name
        that it does not show."""
        return prod(self.names[name].shape(self.model.config, tokens))

    @property
    def views(self) -> list[str]:
        """The views that this model has. Raises nothing."""
        shown = {name.split(".", 2)[-1] if name.startswith("layers.") else name for name in self.names}
        return [view for view, of in VIEWS.items() if of in shown]

    def need(self, view: str) -> None:
        """Raises InspectionError for a view that this model does not have, with those that it has."""
        if view not in self.views:
            raise InspectionError(
                f"{view}: {self.name} is of the family {self.family}, which has no {VIEWS[view]}, expected one of its "
                f"views: {', '.join(self.views) or 'none'}. Every model shows its named values: docs/formats/taps.md."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What some tokens of a sequence have left behind: values (tokens, width) by name, and logits where wanted.

    `places` are the tokens' positions in the sequence, ascending. `values[name][i]` belongs to `places[i]`, and so does
    `logits[i]`, which scores what comes after it.
    """

    places: Array
    values: Mapping[str, Array]
    logits: Array | None


class WatchingProgram:
    """A program over the weights that serve, beside the one that serves, that keeps named values of every token.

    Making one raises InspectionError for a model that native programs do not compute.
    """

    def __init__(self, subject: Subject, names: Sequence[str], *, logits: bool) -> None:
        self.subject, self.names, self.wants_logits = subject, tuple(names), logits
        self._wanted: Wanted = (
            "all" if logits or any(subject.names[name].rows == "wanted" for name in names) else "none"
        )
        tracer = kernels.Tracer(exact=subject.exact, cache=subject.cache_type)
        try:
            self._program = kernels.build(tracer, subject.model, threads=subject.threads, watch=self.names)
        except kernels.TracingError as problem:
            raise InspectionError(f"looking into {subject.name}: {problem}") from problem

    def step_tokens(self, tokens: int) -> int:
        """Tokens of one step, of a sequence of so many: as many as STEP_BYTES hold. Raises nothing."""
        width = sum(self.subject.width(name, tokens) for name in self.names)
        width += (self._wanted == "all") * self._program.width
        return max(LEAST_STEP, min(MOST_STEP, STEP_BYTES // (4 * max(width, 1))))

    def steps(self, ids: Sequence[int], *, expanded: int = 0) -> Iterator[Step]:
        """Compute the sequence from its first token on. `expanded`: how many of its tokens are computed in the expanded
        form, as its receipt says (latent attention). Each step is to be used before the next one is asked for.

        Raises MemoryError if the caches cannot grow.
        """
        given = np.asarray(ids, np.int32)
        sequence = self._program.new_sequence(len(given))
        if expanded:
            sequence.expanded = expanded
        try:
            size = self.step_tokens(len(given))
            for start in range(0, len(given), size):
                chunk = given[start : start + size]
                rows = self._program.step([(sequence, chunk)], self._wanted)
                yield Step(
                    places=np.arange(start, start + len(chunk)),
                    values={name: self._seen(name, len(given)) for name in self.names},
                    logits=rows if self.wants_logits else None,
                )
        finally:
            sequence.close()

    def _seen(self, name: str, tokens: int) -> Array:
        """What the last step has left of a value; rows over positions are as long as the sequence will be."""
        value, dims = self._program.seen(name), self.subject.names[name].dims
        if "positions" not in dims:
            return value
        heads = self.subject.width(name, 1)
        rows = np.zeros((len(value), heads, tokens), value.dtype)
        rows[:, :, : value.shape[1] // heads] = value.reshape(len(value), heads, -1)
        return rows.reshape(len(value), -1)

    def close(self) -> None:
        """Let go of its threads. Raises nothing."""
        self._program.close()


class Engine(Protocol):
    """What of `assistant.Model.engine` a look inside reads."""

    @property
    def facts(self) -> Any: ...


class Opened(Protocol):
    """What of `engine.Opened` a look inside reads."""

    @property
    def model(self) -> Model | None: ...
    @property
    def threads(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def memory_plan(self) -> Any: ...


class Inspectable(Protocol):
    """The members of `assistant.Model` that a look inside uses. Its properties raise what those do."""

    @property
    def engine(self) -> Engine: ...
    @property
    def opened(self) -> Opened: ...
    @property
    def info(self) -> Any: ...
    @property
    def tokenizer(self) -> Tokenizer: ...


def subject_of(model: Inspectable) -> Subject:
    """The weights of a loaded model, and how its engine computes with them.

    Raises InspectionError for a model that another program computes, or NumPy, or whose experts are read from disk;
    what `model.engine.facts` raises.
    """
    opened, facts, name = model.opened, model.engine.facts, model.info.name
    placed, identity = opened.model, facts.identity
    if placed is None:
        raise InspectionError(
            f"looking into {name}: another program computes it, expected weights in this process. Load it here: "
            "`ouvert.load(...)` without `elsewhere`."
        )
    if identity.arithmetic != "native":
        raise InspectionError(
            f"looking into {name}: {identity.arithmetic} computes it, expected the native kernels. Install a "
            "C++20 compiler and Ouvert again."
        )
    if opened.memory_plan is not None:
        raise InspectionError(
            f"looking into {name}: its experts are read from disk while it answers, expected all weights in "
            "memory. Load it with more memory (`memory=`), or look into a smaller model."
        )
    tokenizer, without_words = tokenizer_of(model)
    return Subject(
        name=name,
        model=placed,
        threads=opened.threads,
        exact=facts.exact,
        cache_type=facts.cache_type,
        facts={
            "name": name,
            "family": placed.family.name,
            "layers": int(placed.config.num_hidden_layers),
            "parameters": opened.parameters,
            "weights_digest": facts.weights_digest,
            "packed_digest": facts.packed_digest,
            "identity_digest": identity.digest,
            "build": facts.build,
            "version": facts.version,
            "instruction_set": facts.instruction_set,
            "threads": facts.threads,
            "exact": facts.exact,
            "precision": identity.precision,
            "cache": identity.cache,
            **({} if without_words is None else {"without_words": without_words}),
        },
        tokenizer=tokenizer,
    )


def tokenizer_of(model: Inspectable) -> tuple[Tokenizer | None, str | None]:
    """How its tokens become words; without it, what is in the way. Ids can be looked at without words.

    Raises nothing.
    """
    try:
        return model.tokenizer, None
    except (ChatError, TokenizerError) as problem:
        return None, str(problem)
