"""What answers while training with rewards: our own engine, in the same process, over the same packed file."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ouvert.cli.environment import guard_asked_for

if TYPE_CHECKING:
    from ouvert.assistant import Model
    from ouvert.engine import Generation, Sampling, Variant
    from ouvert.packed import Adapter
    from ouvert.store import Store
    from ouvert.tuning import Asked, Sampled

AT_ONCE = 32  # answers that the engine writes side by side; each has the bits that it would have alone


@contextmanager
def model_that_answers(
    store: "Store", name: str, threads: int | None, computing: Mapping[str, Any]
) -> "Iterator[Model]":
    """The model as it is served, without a ledger and without prompts on disk. Raises what `load` raises."""
    from ouvert.assistant import load
    from ouvert.cli.progress import show_progress

    model = load(
        name, store=store, threads=threads, receipts=False, prefixes=False, guard=guard_asked_for(),
        progress=show_progress(sys.stderr), **computing,
    )  # fmt: skip
    with model:
        yield model


class Drawing:
    """Answers that are drawn together. `between` is asked between the engine's steps; where it raises, all of them end,
    and whoever waits for one gets what it raised."""

    def __init__(self, between: Callable[[], None]) -> None:
        self._between, self._lock = between, threading.Lock()
        self._ended: Exception | None = None
        self._begun: list[Generation] = []

    def begun(self, generation: "Generation") -> "Generation":
        """The same, which ends with the others. Raises nothing."""
        with self._lock:
            self._begun.append(generation)
            if self._ended is not None:
                generation.cancel()
        return generation

    def between_steps(self) -> None:
        """In the engine's thread. Raises nothing."""
        if self._ended is not None:
            return
        try:
            self._between()
        except Exception as ended:
            with self._lock:
                self._ended = ended
                for each in self._begun:
                    each.cancel()

    def require_going_on(self) -> None:
        """Raises what `between` raised."""
        if self._ended is not None:
            raise self._ended


class EngineSampler:
    """A `tuning.Sampler`: the adapter is given to the engine for as long as its answers are written."""

    def __init__(self, model: "Model") -> None:
        self._model, self._engine, self._chat = model, model.engine, model.chat_format

    def __call__(
        self,
        asked: "Sequence[Asked]",
        adapter: "Adapter",
        *,
        length: int,
        temperature: float,
        between: Callable[[], None],
    ) -> "list[list[Sampled]]":
        """As `tuning.Sampler`. Raises EngineError, and what `between` raises."""
        from ouvert.engine import Sampling, ScaledAdapter, Variant

        digest, drawing = self._engine.adapters.add(adapter), Drawing(between)
        variant = Variant((ScaledAdapter(digest),))

        def one(of: "Asked", seed: int) -> "Sampled":
            sampling = Sampling(
                temperature=temperature, seed=seed, max_tokens=length, stop_ids=self._chat.stop_ids, logprobs=0
            )
            return self._one(of, sampling, variant, drawing)

        self._engine.give_way(drawing.between_steps)
        try:
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ouvert-sample") as pool:
                writing = [[pool.submit(one, each, seed) for seed in each.seeds] for each in asked]
                return [[each.result() for each in group] for group in writing]
        finally:
            self._engine.give_way(None)
            self._engine.adapters.remove(digest)

    def _one(self, asked: "Asked", sampling: "Sampling", variant: "Variant", drawing: "Drawing") -> "Sampled":
        import numpy as np

        from ouvert.tuning import Sampled

        generation = drawing.begun(self._engine.generate(asked.ids.tolist(), sampling, variant))
        tokens = list(generation)
        drawing.require_going_on()
        return Sampled(
            ids=np.array([each.id for each in tokens], np.int32),
            log_probabilities=np.array([each.logprob for each in tokens], np.float64),
            stopped=generation.stopped.reason == "stop",
            text=self._text(asked.ids.tolist(), [each.id for each in tokens]),
        )

    def _text(self, prompt: list[int], written: list[int]) -> str:
        """What an answer says, without what was thought."""
        from ouvert.chat import Rendered, TextDelta

        parser = self._chat.parser(Rendered(ids=tuple(prompt), spans=(), text=""))
        deltas = [delta for token in written for delta in parser.push(token)]
        return "".join(each.text for each in (*deltas, *parser.finish("stop")) if isinstance(each, TextDelta))
