"""A model as it serves: the weights, and how they compute. What every look inside begins with."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, Protocol

import numpy as np

from ouvert import kernels
from ouvert.arithmetic import LowRank
from ouvert.chat import ChatError
from ouvert.inspection.error import InspectionError
from ouvert.models import Model, NamedValue, shown_by
from ouvert.tokenization import Tokenizer, TokenizerError

Array = np.ndarray[Any, np.dtype[Any]]
Wanted = Literal["all", "none"]  # rows of logits

# What one step keeps of its tokens: logits and watched values.
STEP_BYTES = 96_000_000
LEAST_STEP, MOST_STEP = 8, 256  # tokens of one step

# Views that compute the end of the model anew, from the residual stream.
FROM_THE_STREAM = frozenset({"lens", "focus", "attribution"})
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
    and `cache_type` are those of the engine: with them every number is the one that the engine computes. `watch` begins
    steps that keep named values. `edited`: names of values that are changed while it computes. `context`: most tokens
    of a sequence. `adapters`: what each of its adapters adds to weights, by their names, in the order in which they do.
    """

    name: str
    model: Model
    threads: int
    exact: bool
    cache_type: kernels.CacheType
    facts: Mapping[str, Any]
    tokenizer: Tokenizer | None
    watch: Callable[[Sequence[str]], "Watching"]
    edited: tuple[str, ...] = ()
    context: int | None = None
    adapters: tuple[Mapping[str, LowRank], ...] = ()

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
        if view in FROM_THE_STREAM and "norm" in self.edited:
            raise InspectionError(
                f"{view}: an edit changes the last norm, which this view computes anew for every layer, so its last "
                "row would not be the logits. Edit the last layer's out in its place, or look at other views."
            )
        if view == "attribution" and any(re.fullmatch(r"layers\.\d+\.out", name) for name in self.edited):
            raise InspectionError(
                "attribution: an edit changes the residual stream itself, which is no part of the model, so the parts "
                "would not add up to the logit. Edit what a part adds (attention.out, mlp.out), or look at other views."
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


class Watching(Protocol):
    """Steps of the model that keep named values: `engine.Watching`, or `kernels.Program`."""

    def new_sequence(self, capacity: int) -> Any: ...
    def step(self, work: Sequence[tuple[Any, Array]], wanted: Wanted) -> Array: ...
    def seen(self, name: str) -> Array: ...
    def close(self) -> None: ...


def steps_of(
    subject: Subject, names: Sequence[str], ids: Sequence[int], *, logits: bool, expanded: int = 0
) -> Iterator[Step]:
    """Compute the sequence from its first token on, with the weights that serve and beside their answers, and keep
    these values of every token. `expanded`: how many of its tokens are computed in the expanded form, as its receipt
    says (latent attention).

    Raises what `subject.watch` and its steps raise.
    """
    given = np.asarray(ids, np.int32)
    wanted: Wanted = "all" if logits or any(subject.names[name].rows == "wanted" for name in names) else "none"
    size = step_tokens(subject, names, len(given), wanted)
    watching = subject.watch(names)
    try:
        sequence = watching.new_sequence(len(given))
        if expanded:
            sequence.expanded = expanded
        for start in range(0, len(given), size):
            chunk = given[start : start + size]
            rows = watching.step([(sequence, chunk)], wanted)
            yield Step(
                places=np.arange(start, start + len(chunk)),
                values={name: seen(watching, subject, name, len(given)) for name in names},
                logits=rows if logits else None,
            )
    finally:
        watching.close()


def step_tokens(subject: Subject, names: Sequence[str], tokens: int, wanted: Wanted) -> int:
    """Tokens of one step, of a sequence of so many: as many as STEP_BYTES hold. Raises nothing."""
    width = sum(subject.width(name, tokens) for name in names)
    width += (wanted == "all") * int(subject.model.config.vocab_size)
    return max(LEAST_STEP, min(MOST_STEP, STEP_BYTES // (4 * max(width, 1))))


def seen(watching: Watching, subject: Subject, name: str, tokens: int) -> Array:
    """What the last step has left of a value; rows over positions are as long as the sequence will be."""
    value = watching.seen(name)
    if "positions" not in subject.names[name].dims:
        return value
    heads = subject.width(name, 1)
    rows = np.zeros((len(value), heads, tokens), value.dtype)
    rows[:, :, : value.shape[1] // heads] = value.reshape(len(value), heads, -1)
    return rows.reshape(len(value), -1)


class Opened(Protocol):
    """What of `engine.Opened` a look inside reads."""

    @property
    def model(self) -> Model | None: ...
    @property
    def threads(self) -> int: ...
    @property
    def parameters(self) -> int: ...


class Inspectable(Protocol):
    """The members of `assistant.Model` that a look inside uses. Its properties raise what those do."""

    @property
    def engine(self) -> Any:
        """Where the weights are in this process, an `engine.LocalEngine`: its `facts` and `watching` are used."""

    @property
    def opened(self) -> Opened: ...
    @property
    def info(self) -> Any: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def adapters(self) -> Any:
        """What knows its adapters: `read(variant)` gives the `packed.Adapter` of each, with its scale."""

    @property
    def variant(self) -> Any:
        """The `engine.Variant` with which it answers where nothing else is said."""


class Variant(Protocol):
    """engine.Variant."""

    @property
    def digest(self) -> str: ...
    @property
    def adapters(self) -> Sequence[Any]: ...
    @property
    def edits(self) -> Sequence[Any]: ...


def subject_of(model: Inspectable, variant: Variant | None = None) -> Subject:
    """The weights of a loaded model, and how its engine computes this variant with them; left out, the model's own.

    Raises InspectionError for a model that another program computes, or NumPy; what `model.engine.facts` raises, and
    what reading the variant's adapters does.
    """
    variant = model.variant if variant is None else variant
    opened, facts, name = model.opened, model.engine.facts, model.info.name
    placed, identity = opened.model, facts.identity
    identity = identity.of_variant(variant.digest)
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
            "variant": identity.variant,
            **({} if without_words is None else {"without_words": without_words}),
        },
        tokenizer=tokenizer,
        context=model.info.context,
        watch=lambda names: model.engine.watching(names, variant),
        edited=tuple(each.tap for each in variant.edits),
        adapters=tuple(pairs_of(adapter.pairs, scale) for adapter, scale in model.adapters.read(variant)),
    )


def pairs_of(pairs: Mapping[str, LowRank], scale: float) -> Mapping[str, LowRank]:
    """What an adapter adds, multiplied by `scale`."""
    return pairs if scale == 1 else {name: replace(pair, scale=pair.scale * scale) for name, pair in pairs.items()}


def adapters_within(subject: Subject, prefix: str = "") -> tuple[kernels.Adapters, ...]:
    """What the subject's adapters add to weights whose names begin so, for sequences of programs that have room for
    them. Raises nothing."""
    within = [{name: pair for name, pair in each.items() if name.startswith(prefix)} for each in subject.adapters]
    return tuple(kernels.Adapters(each) for each in within if each)


def adapted_weights(subject: Subject, prefix: str = "") -> dict[str, Any]:
    """The weights that these add to, by name: what a tracer needs room for. Raises nothing."""
    names = {name for each in subject.adapters for name in each if name.startswith(prefix)}
    return {name: weight for name, weight in subject.model.adaptable.items() if name in names} if names else {}


def tokenizer_of(model: Inspectable) -> tuple[Tokenizer | None, str | None]:
    """How its tokens become words; without it, what is in the way. Ids can be looked at without words.

    Raises nothing.
    """
    try:
        return model.tokenizer, None
    except (ChatError, TokenizerError) as problem:
        return None, str(problem)
