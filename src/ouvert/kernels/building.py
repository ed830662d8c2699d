"""From a model to the native programs that compute it: the plain one, and siblings that show and edit named values."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from ouvert.kernels.places import Places
from ouvert.kernels.program import CacheType, Program
from ouvert.kernels.trace import Memory
from ouvert.kernels.traced import TracingError
from ouvert.kernels.tracer import Tracer
from ouvert.kernels.watching import Watch

# Siblings that are kept ready. One costs a trace of the graph, tens of milliseconds, and work space once it runs.
MOST_SIBLINGS = 8


class Traceable(Protocol):
    """A model whose weights are `Packed` matrices and float32 vectors: models.Model."""

    @property
    def memories(self) -> Iterable[Memory]: ...
    @property
    def adaptable(self) -> Mapping[str, Any]: ...
    def forward(self, batch: Any, ops: Any, tap: Any = None) -> Any: ...


def build(
    tracer: Tracer,
    model: Traceable,
    *,
    threads: int,
    instruction_set: str | None = None,
    watch: Iterable[str] = (),
    places: Iterable[str] = (),
    adapted: Iterable[str] = (),
    beside: Program | None = None,
) -> Program:
    """Run the model's graph once, and return the program that replays it.

    `watch` names values of the graph (docs/formats/taps.md) to keep in each step: `Program.seen(name)`. The numbers are
    the same with and without. `places` names values that sequences may have edits of (`Sequence.edits`); a watched one
    is seen as it is after them. `adapted` names weights that adapters of sequences may add to (`Sequence.adapters`), as
    the model calls them. `beside`: a program of the same model and settings, whose threads and caches this one
    shares; `Programs` makes those. Raises LookupError for a name that never comes, and TracingError, by name, for what
    a program cannot do.
    """
    names = sorted(adapted)
    if names:
        weights = model.adaptable
        if unknown := [name for name in names if name not in weights]:
            raise TracingError(f"adapting {', '.join(unknown)}: this model has no such weight. models.adaptable")
        tracer.adapt({name: weights[name] for name in names})
    tap = Places(tracer, places, Watch(tracer, watch))
    logits = model.forward(tracer.begin(model.memories), tracer, tap)
    tap.check()
    if never := [name for name in names if name not in tracer.adaptable]:
        raise TracingError(f"adapting {', '.join(never)}: the graph multiplies nothing by it.")
    return tracer.finish(logits, threads=threads, instruction_set=instruction_set, beside=beside)


class Programs:
    """The native programs of one model, over the same packed weights, the same threads and the same caches.

    `plain` shows and edits nothing. A sequence or page of one is a sequence or page of all: each of them can step it,
    one at a time, and its numbers are the same bits. Siblings are made when they are first asked for, and the last few
    are kept. Not for use from several threads at once.

        programs = kernels.Programs(placed.model, threads=2)
        sequence = programs.plain.new_sequence(capacity=4096)
        watching = programs.sibling(watch=["layers.3.out"])
        logits = watching.step([(sequence, ids)], "last")
        stream = watching.seen("layers.3.out")             # float32 (tokens, hidden)

    `exact` keeps activations in float32, `cache` is how keys and values are kept, `threads` compute, and
    `instruction_set` is the widest that is here if it is left out: see `Tracer`. Making one raises TracingError, by
    name, for what a program cannot do.
    """

    def __init__(
        self,
        model: Traceable,
        *,
        threads: int,
        exact: bool = False,
        cache: CacheType = "f16",
        instruction_set: str | None = None,
    ) -> None:
        self._model: Traceable | None = model
        self.exact, self.cache = exact, cache
        self.plain = self._traced(Asked(), threads=threads, instruction_set=instruction_set)
        # By what was asked of them: the last that were asked for, the newest at the end.
        self._siblings: dict[Asked, Program] = {}

    def sibling(self, watch: Iterable[str] = (), places: Iterable[str] = (), adapted: Iterable[str] = ()) -> Program:
        """The program that keeps these values of the graph (docs/formats/taps.md) in each step, `Program.seen`, and has
        at least these places for edits, `Sequence.edits`, and for additions to these weights, `Sequence.adapters`.

        The plain one for no names at all. Valid until `close`. Raises LookupError for a name to watch and TracingError
        for one to edit or a weight to adapt that this model does not have, and ValueError once it is closed.
        """
        asked = Asked(frozenset(watch), frozenset(places), frozenset(adapted))
        if asked == Asked():
            return self.plain
        key = next((key for key in self._siblings if key.serves(asked)), asked)
        program = self._siblings.pop(key, None) or self._traced(key, beside=self.plain)
        self._siblings[key] = program
        while len(self._siblings) > MOST_SIBLINGS:
            del self._siblings[next(iter(self._siblings))]
        return program

    def close(self) -> None:
        """Let go of weights and threads. Neither the programs nor their sequences can be used afterwards.

        Raises nothing.
        """
        for program in (self.plain, *self._siblings.values()):
            program.close()
        self._siblings.clear()
        self._model = None

    def _traced(
        self,
        asked: "Asked",
        threads: int = 1,
        instruction_set: str | None = None,
        beside: Program | None = None,
    ) -> Program:
        if self._model is None:
            raise ValueError("making a program: its model was closed. Make it before `Programs.close`.")
        tracer = Tracer(exact=self.exact, cache=self.cache)
        return build(
            tracer,
            self._model,
            threads=threads,
            instruction_set=instruction_set,
            watch=asked.watch,
            places=asked.places,
            adapted=asked.adapted,
            beside=beside,
        )


class Asked(NamedTuple):
    """What somebody asks of a sibling: values to watch, values to edit, and weights to add to."""

    watch: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    adapted: frozenset[str] = frozenset()

    def serves(self, other: "Asked") -> bool:
        """Whether a program for this is one for the other. What it watches costs, and has to be the same."""
        return self.watch == other.watch and self.places >= other.places and self.adapted >= other.adapted
