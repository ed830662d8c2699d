"""The learner: the forward pass is the one that is served, and gradients go back through the same packed weights.

Forward, only what enters each layer is kept, and which experts were chosen. Backward, layer by layer from the top, each
layer is run again as PyTorch operations, of which gradients are asked. Sequences that are short are computed together
in bins; bins go side by side, each on one thread, and their gradients are added in the order of the bins: so the
numbers do not depend on how many threads there are.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from ouvert.arithmetic import LowRank
from ouvert.kernels import Adapters, Products, Program
from ouvert.models import carrying, shown_by
from ouvert.packed import Adapter
from ouvert.tuning.head import Head
from ouvert.tuning.in_order import GivenUpError, InOrder
from ouvert.tuning.layers import Kept, Layers
from ouvert.tuning.learner import Loss, LossOf
from ouvert.tuning.opening import Base
from ouvert.tuning.operations import Adapted
from ouvert.tuning.pack import Bin, bins_of, pieces_of
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.stored import AdapterPrecision, Served

Array = np.ndarray[Any, np.dtype[Any]]

BIN_TOKENS = 512  # computed together at most, but for sequences that are longer
PIECE_TOKENS = 128  # between two places on the way up where somebody may wait


class GradientLearner:
    """A `Learner` over a base and an adapter, which it goes on from. Close it when it is no longer needed.

    `packed_together`: short sequences share a bin. PyTorch computes on one thread from now on, in the whole process:
    it is the bins that go side by side. `precision`: what the parameters are rounded to wherever they compute, so also
    in `adapter` (tuning.stored). `between` is called every PIECE_TOKENS on the way up and behind each layer on the way
    back, from any of its threads: it may wait, and what it raises ends the call, which is of no use then. Not for use
    from several threads at once. Making one raises ValueError for an adapter
    whose names or shapes are not those of the base.
    """

    def __init__(
        self, base: Base, adapter: Adapter, *, packed_together: bool = True, precision: AdapterPrecision = "float32"
    ) -> None:
        torch.set_num_threads(1)
        self.base = base
        self.between: Callable[[], None] = nothing
        self._pairs = adapter.pairs
        self._parameters: dict[str, torch.nn.Parameter] = {}
        self._served = Served(precision)
        model = carrying(base.model, self._adapted)
        if unknown := self._pairs.keys() - {name.rpartition(".")[0] for name in self._parameters}:
            raise ValueError(
                f"learning with {base.name}: its adapter adds to {', '.join(sorted(unknown))}, which this model does "
                "not have. Expected names of models.adaptable: take an adapter of this model."
            )
        self._lowest = min(int(name.split(".")[1]) for name in self._pairs)
        self._layers = Layers(model, self._lowest, exact=base.exact)
        self._together = packed_together
        self._head = Head(base.model, threads=base.threads, exact=base.exact)
        self._one_thread, self._all_threads = Products(1), Products(base.threads)
        self._pool = ThreadPoolExecutor(base.threads, thread_name_prefix="ouvert-tune")
        self._shown = {name for name, _ in shown_by(base.model.family.name, base.model.config)}

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """As `Learner` has it. Raises nothing."""
        return self._parameters

    @property
    def adapter(self) -> Adapter:
        """As `Learner` has it. Raises nothing."""

        served = self._served.refresh()

        def copy(name: str) -> Array:
            return served[name].numpy().copy()

        return Adapter(
            {
                name: LowRank(copy(f"{name}.a"), copy(f"{name}.b"), pair.scale, pair.experts)
                for name, pair in self._pairs.items()
            }
        )

    def log_probabilities(
        self, sequences: Sequence[Array], *, adapted: bool = True, wanted: Sequence[Array] | None = None
    ) -> list[Array]:
        """As `Learner` has it. Raises ValueError for what is no sequence of this model's ids."""
        self._check(sequences)
        found: list[Array] = [np.empty(0)] * len(sequences)
        adapters = [Adapters(self.adapter.pairs)] if adapted else []
        for one in self._bins(sequences):
            kept = self._forward([sequences[n] for n in one.members], adapters, keep=False)
            rows, tokens = self._rows(one, sequences, wanted)
            scores = self._head.log_probabilities(kept.last[rows], tokens)
            for n, scored in self._by_sequence(one, sequences, rows, scores):
                found[n] = scored
        return found

    def learn(self, sequences: Sequence[Array], loss: LossOf, *, wanted: Sequence[Array] | None = None) -> Loss:
        """As `Learner` has it. Raises ValueError for what is no sequence of this model's ids, and for gradients that do
        not fit; TuningError where the weights were damaged."""
        self._check(sequences)
        self.base.refuse_damage()
        found: list[Array] = [np.empty(0)] * len(sequences)
        bins, adapters = self._bins(sequences), [Adapters(self.adapter.pairs)]
        passes = []
        for one in bins:
            kept = self._forward([sequences[n] for n in one.members], adapters, keep=True)
            rows, tokens = self._rows(one, sequences, wanted)
            scores, directions = self._head.with_directions(kept.last[rows], tokens)
            for n, scored in self._by_sequence(one, sequences, rows, scores):
                found[n] = scored
            passes.append((kept, rows, directions))
        told = loss(found)
        check_gradients(told, sequences)
        work = []
        for one, (kept, rows, directions) in zip(bins, passes, strict=True):
            given = np.concatenate([told.gradients[n] for n in one.members])
            self.between()
            work.append((kept, self._at_the_top(kept, rows, directions, given)))
        self._backward(work)
        return told

    def close(self) -> None:
        """Let go of its threads. The base stays. Raises nothing."""
        self._pool.shutdown()
        self._head.close()

    # --- forward

    def _forward(self, ids: list[Array], adapters: Sequence[Adapters], *, keep: bool) -> Kept:
        """The pass through all layers of the sequences of one bin, as they are served."""
        stream = [f"layers.{n}.out" for n in range(self._lowest - 1, self._layers.count)]
        stream[0] = stream[0] if self._lowest else "embedding"
        layers = range(self._lowest, self._layers.count)
        chosen = {n: name for n in layers if (name := f"layers.{n}.experts.chosen") in self._shown}
        if not keep:
            stream, chosen = stream[-1:], {}
        program = self.base.programs.sibling([*stream, *chosen.values()], adapted=self._pairs if adapters else ())
        sequences = [program.new_sequence(len(each)) for each in ids]
        try:
            for each in sequences:
                each.adapters = adapters
            seen = self._seen(program, sequences, ids, [*stream, *chosen.values()])
            experts = {n: torch.from_numpy(seen[name]).long() for n, name in chosen.items()}
            return Kept(
                ids,
                [seen[name] for name in stream],
                [experts.get(n) for n in layers] if keep else [],
            )
        finally:
            for each in sequences:
                each.close()

    def _seen(
        self, program: Program, sequences: Sequence[Any], ids: Sequence[Array], names: Sequence[str]
    ) -> dict[str, Array]:
        """What these names show of all tokens: in one step, or where somebody may have to wait in several, which give
        the same bits."""
        most = sum(map(len, ids)) if self.between is nothing else PIECE_TOKENS
        found: dict[str, list[Array]] = {name: [] for name in names}
        for piece in pieces_of([len(each) for each in ids], most):
            self.between()
            program.step([(sequences[n], ids[n][start:stop]) for n, start, stop in piece], "none")
            for name, parts in found.items():
                parts.append(program.seen(name))
        self.between()
        return {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in found.items()}

    def _rows(self, one: Bin, sequences: Sequence[Array], wanted: Sequence[Array] | None) -> tuple[Array, Array]:
        """(rows of the bin's stream, the token after each) whose log-probabilities are wanted."""
        rows, tokens = [], []
        for n, start in zip(one.members, one.boundaries, strict=False):
            places = np.arange(1, len(sequences[n]))
            if wanted is not None:
                places = places[wanted[n][1:].astype(bool)]
            rows.append(start + places - 1)
            tokens.append(sequences[n][places])
        return np.concatenate(rows), np.concatenate(tokens)

    def _by_sequence(
        self, one: Bin, sequences: Sequence[Array], rows: Array, scores: Array
    ) -> Iterable[tuple[int, Array]]:
        """(sequence, its log-probabilities (tokens,)) of what was found for the rows of a bin."""
        whole = np.zeros(one.boundaries[-1] + 1)
        whole[rows + 1] = scores
        for n, start in zip(one.members, one.boundaries, strict=False):
            scored = whole[start : start + len(sequences[n])].copy()
            scored[0] = 0
            yield n, scored

    # --- backward

    def _at_the_top(self, kept: Kept, rows: Array, directions: torch.Tensor, given: Array) -> torch.Tensor | None:
        """The gradient (tokens, hidden) by what leaves the last layer; None where there is none at all."""
        weights = torch.from_numpy(given[rows + 1].astype(np.float32))
        stream = kept.last
        top = torch.zeros(stream.shape)
        some = weights.nonzero()[:, 0]
        if not len(some):
            return None
        at = torch.from_numpy(rows)[some]
        top[at] = self._head.gradient(stream[at.numpy()], directions[some], weights[some])
        return top

    def _backward(self, passes: Sequence[tuple[Kept, torch.Tensor | None]]) -> None:
        """Adds the gradients of all bins to those of the parameters, in the order of the bins."""
        work = [(kept, top) for kept, top in passes if top is not None]
        order = InOrder()
        if len(work) == 1 or self.base.threads == 1:
            products = self._all_threads if len(work) == 1 else self._one_thread
            for part, (kept, top) in enumerate(work):
                self._backward_of_bin(part, kept, top, order, products)
            return
        running = [
            self._pool.submit(self._backward_of_bin, part, kept, top, order, self._one_thread)
            for part, (kept, top) in enumerate(work)
        ]
        problems = [problem for each in running if (problem := each.exception()) is not None]
        for problem in sorted(problems, key=lambda each: isinstance(each, GivenUpError)):
            raise problem

    def _backward_of_bin(
        self, part: int, kept: Kept, gradient: torch.Tensor, order: InOrder, products: Products
    ) -> None:
        torch.set_num_threads(1)
        try:
            for n, found in self._layers.gradients(kept, gradient, products):
                with order.turn(n, part):
                    for (name, expert), (of_a, of_b) in found.items():
                        self._add(f"{name}.a", expert, of_a)
                        self._add(f"{name}.b", expert, of_b)
                self.between()
        except BaseException:
            order.give_up()
            raise

    def _add(self, name: str, expert: int | None, gradient: torch.Tensor) -> None:
        parameter = self._parameters[name]
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if expert is None:
            parameter.grad += gradient
        else:
            experts = self._pairs[name.rpartition(".")[0]].experts or ()
            parameter.grad[experts.index(expert)] += gradient

    # --- what both need

    def _adapted(self, name: str, weight: Any) -> Any:
        """What stands in the place of an adaptable weight."""
        pair = self._pairs.get(name)
        if pair is None:
            return weight
        if pair.shape != (weight.rows, weight.columns) or max(pair.experts or (0,)) >= weight.experts:
            raise ValueError(
                f"learning with {self.base.name}: the addition to {name} is of {pair.shape}, expected "
                f"{(weight.rows, weight.columns)}, and experts below {weight.experts}. Take an adapter of this model."
            )
        a, b = (torch.nn.Parameter(torch.from_numpy(np.array(each, np.float32))) for each in (pair.a, pair.b))
        self._parameters[f"{name}.a"], self._parameters[f"{name}.b"] = a, b
        served_a, served_b = self._served.add(f"{name}.a", a), self._served.add(f"{name}.b", b)
        return Adapted(weight, name, served_a, served_b, pair.scale, pair.experts)

    def _bins(self, sequences: Sequence[Array]) -> tuple[Bin, ...]:
        return bins_of([len(each) for each in sequences], BIN_TOKENS if self._together else 0)

    def _check(self, sequences: Sequence[Array]) -> None:
        """Raises ValueError for what is no sequence of this model's ids."""
        vocabulary = int(self.base.model.config.vocab_size)
        for n, ids in enumerate(sequences):
            fits = isinstance(ids, np.ndarray) and ids.dtype == np.int32 and ids.ndim == 1 and len(ids) >= 2
            if not fits or not (int(ids.min()) >= 0 and int(ids.max()) < vocabulary) or len(ids) > self.base.context:
                raise ValueError(
                    f"learning: sequence {n} is {getattr(ids, 'dtype', type(ids).__name__)}{np.shape(ids)}, expected "
                    f"int32 (tokens,) of 2 to {self.base.context} ids below {vocabulary}. Cut or leave it out."
                )


def learner_of(base: Base, recipe: Recipe, adapter: Adapter) -> GradientLearner:
    """What a run of this recipe learns with, from these masters on. Raises what making a GradientLearner raises."""
    return GradientLearner(base, adapter, packed_together=recipe.data.pack, precision=recipe.adapter.precision)


def nothing() -> None:
    """What a learner does between two layers unless it is told otherwise. Raises nothing."""


def check_gradients(told: Loss, sequences: Sequence[Array]) -> None:
    """Raises ValueError for gradients that do not fit the sequences."""
    if [np.shape(each) for each in told.gradients] != [ids.shape for ids in sequences]:
        raise ValueError(
            f"learning: the loss gave gradients of {[np.shape(each) for each in told.gradients]}, expected one for "
            f"each token of each sequence, {[ids.shape for ids in sequences]}."
        )
