"""From what is written on a command line to who is asked: `NAME[:TAG][@PRECISION][+ADAPTER…][:EFFORT]`, opened when
needed."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ouvert.assistant import EFFORTS, Model, bytes_in_memory, load, memory_by_context, memory_bytes
from ouvert.evaluation.contestants.contestant import Contestant, ContestantFacts
from ouvert.evaluation.contestants.here import Here, facts_of
from ouvert.evaluation.error import EvaluationError
from ouvert.store import SILENCE, Installed, Progress, Store, default_home

CONTEXTS = (2048, 8192)  # tokens of a conversation for which memory is told
SHARE_OF_MEMORY = 0.8  # that all contestants together may take; caches and the rest of the machine have what is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A contestant before it is opened. `open` makes it (again); `memory`: bytes that it takes of this machine. `send`:
    suites whose prompts may go to it though they stay on this machine otherwise."""

    facts: ContestantFacts
    open: Callable[[], Contestant] = field(repr=False)
    memory: int = 0
    send: frozenset[str] = frozenset()


def entrant_of(opening: Callable[[], Contestant]) -> Entrant:
    """A contestant that another program computes. It is opened to learn its facts. Raises what `opening` raises."""
    contestant = opening()
    contestant.close()
    return Entrant(facts=contestant.facts, open=opening)


@dataclass(frozen=True, slots=True)
class Meant:
    """What a word of the command line means. `copy`: which one of the same, from 1."""

    name: str
    effort: str
    copy: int

    @property
    def label(self) -> str:
        """Unique in a comparison."""
        effort = f":{self.effort}" if self.effort else ""
        copy = f"#{self.copy}" if self.copy > 1 else ""
        return f"{shown_name(self.name)}{effort}{copy}"


def shown_name(name: str) -> str:
    """A model's name; of a file or folder its own, without those that it lies in. Raises nothing."""
    return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name


OWN_SETTINGS = frozenset({"receipts", "prefixes"})  # of `ouvert.load`


class LoadedOnce:
    """Models of this machine, each in memory once however many contestants it is.

    One that nobody uses stays until its memory is needed for another. Close it, or use it as a context manager.
    """

    def __init__(self, store: Store | None = None, progress: Progress = SILENCE, **settings: Any) -> None:
        """`settings`: those of `ouvert.load`. Raises EvaluationError for those that a comparison decides itself."""
        if own := sorted(OWN_SETTINGS & settings.keys()):
            raise EvaluationError(
                f"loading models to compare: {own[0]} was given, and a comparison decides that itself: receipts stand "
                "beside the answers, and kept prompts would make a second run look fast. Leave it out."
            )
        self._store, self._progress, self._settings = store or Store(default_home()), progress, settings
        self._models: dict[str, Model] = {}
        self._users: Counter[str] = Counter()
        self._named: dict[str, tuple[str, tuple[str, ...]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every model, also those in use. May be called twice. Raises nothing."""
        while self._models:
            self._models.popitem()[1].close()

    def entrant(self, meant: Meant, temperature: float) -> Entrant:
        """A model as a contestant. It is loaded to learn its facts.

        Raises what `ouvert.load` raises, and EvaluationError for an effort that it does not know.
        """
        model = self.take(meant.name)
        try:
            require_effort(model, meant)
            facts = facts_of(
                model, meant.label, effort=meant.effort, temperature=temperature, copy=meant.copy,
                about=about(meant.name, self._store.resolve(meant.name), model),
            )  # fmt: skip
        finally:
            self.give_back(meant.name)

        def opened() -> Contestant:
            return Here(
                self.take(meant.name), facts, effort=meant.effort, temperature=temperature,
                release=lambda: self.give_back(meant.name),
            )  # fmt: skip

        return Entrant(facts=facts, open=opened, memory=self._memory(meant.name))

    def take(self, name: str) -> Model:
        """The loaded model with the adapters of its name, to be given back. Raises what `ouvert.load` raises."""
        base, adapters = self._parts(name)
        if base not in self._models:
            self._make_room(self._memory(base))
            # Kept beginnings of prompts would make a second run of the same questions look fast.
            self._models[base] = load(
                base, store=self._store, progress=self._progress, receipts=False, prefixes=False, **self._settings
            )
        model = self._models[base].with_adapters(*adapters) if adapters else self._models[base]
        self._users[base] += 1
        return model

    def give_back(self, name: str) -> None:
        """Raises nothing."""
        self._users[self._parts(name)[0]] -= 1

    def _parts(self, name: str) -> tuple[str, tuple[str, ...]]:
        """The name of the model that is in memory, once for all of its adapters, and those. Raises StoreError."""
        if name not in self._named:
            adapters = self._store.resolve(name).adapters
            self._named[name] = name.removesuffix("".join(f"+{each}" for each in adapters)), adapters
        return self._named[name]

    def _memory(self, name: str) -> int:
        return bytes_in_memory(self._store.resolve(name), self._settings.get("precision"))

    def _make_room(self, wanted: int) -> None:
        for name in [name for name in self._models if not self._users[name]]:
            if fits(sum(map(self._memory, self._models)) + wanted):
                return
            self._models.pop(name).close()


def require_effort(model: Model, meant: Meant) -> None:
    """Raises EvaluationError for an effort that the model cannot be asked for."""
    if not meant.effort:
        return
    abilities = model.chat_format.abilities
    if not (meant.effort in abilities.efforts or (abilities.optional and meant.effort in ("none", "high"))):
        known = abilities.efforts or (("none", "high") if abilities.optional else ())
        expected = f"expected one of {', '.join(known)}" if known else "and this model has no efforts"
        raise EvaluationError(f"comparing {meant.label}: the effort is {meant.effort!r}, {expected}. Leave it out.")


def about(name: str, installed: Installed, model: Model) -> Mapping[str, Any]:
    """What people want to know of a model, and no answer depends on. `place`: of a file or folder that has no name in
    the store; whoever asks again finds it there."""
    info = model.info
    contexts = [context for context in CONTEXTS if context <= info.context] or [info.context]
    memory = memory_by_context(installed, contexts, info.cache_type) if info.cache_type in ("f16", "q8") else {}
    facts = {
        "place": str(Path(name).absolute()) if shown_name(name) != name or Path(name).exists() else None,
        "licence": installed.licence,
        "source": installed.source,
        "revision": installed.revision,
        "fetched_at": installed.fetched_at,
        "weights": model.engine.facts.weights_digest,
        "family": info.family,
        "parameters": info.parameters,
        "bytes": info.bytes,
        "context": info.context,
        "trained_context": info.trained_context,
        "precision": model.engine.facts.identity.precision,
        "threads": info.threads,
        "instruction_set": info.instruction_set,
        "cache_type": info.cache_type,
        "adapters": adapters_of(model),
        "memory": {str(context): taken for context, taken in memory.items()},
    }
    return {name: value for name, value in facts.items() if value is not None}


def adapters_of(model: Model) -> Mapping[str, str] | None:
    """The digest of each adapter with which the model answers, by name; None where it has none. Raises nothing."""
    return {each["name"]: each["digest"] for each in model.adapters.facts(model.variant) if "name" in each} or None


def meanings(words: Sequence[str], efforts: Sequence[str] = (), *, known: Callable[[str], bool]) -> tuple[Meant, ...]:
    """What each word means, with each of `efforts` where these are given. `known`: whether a model has that name.

    Raises EvaluationError for an effort in a word beside `efforts`, and for a word that is none.
    """
    named = [split_effort(word, known) for word in words]
    if efforts:
        if twice := next((name for name, effort in named if effort), None):
            raise EvaluationError(
                f"comparing {twice}: an effort stands behind its name, and --effort {','.join(efforts)} was given. "
                "Leave one out."
            )
        if wrong := next((effort for effort in efforts if effort not in EFFORTS), None):
            raise EvaluationError(
                f"comparing: --effort has {wrong!r:.40}, expected words among {', '.join(EFFORTS)}. Correct it."
            )
        named = [(name, effort) for name, _ in named for effort in efforts]
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for name, effort in named:
        seen[name, effort] += 1
        found.append(Meant(name, effort, seen[name, effort]))
    return tuple(found)


def split_effort(word: str, known: Callable[[str], bool]) -> tuple[str, str]:
    """ "gpt-oss:20b@4:low" -> ("gpt-oss:20b@4", "low"), unless a model has the whole as its name. Raises nothing."""
    name, _, last = word.rpartition(":")
    return (name, last) if name and last in EFFORTS and not known(word) else (word, "")


def fit_together(entrants: Sequence[Entrant], memory: int | None = None) -> bool:
    """Whether all of them can be in memory at once; True where the machine does not say how much it has.

    Raises nothing.
    """
    # Contestants of one model share its weights.
    each = {str(entrant.facts.identity.get("engine", entrant.facts.label)): entrant.memory for entrant in entrants}
    return fits(sum(each.values()), memory)


def fits(taken: int, memory: int | None = None) -> bool:
    """Whether so many bytes of weights may be in memory at once. Raises nothing."""
    most = memory_bytes() if memory is None else memory
    return most is None or taken <= SHARE_OF_MEMORY * most
