"""What answers while training with rewards: our own engine, in the same process, over the same packed file."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ouvert.cli.environment import guard_asked_for

if TYPE_CHECKING:
    from ouvert.assistant import Model
    from ouvert.engine import Variant
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


class EngineSampler:
    """A `tuning.Sampler`: the adapter is given to the engine for as long as its answers are written."""

    def __init__(self, model: "Model") -> None:
        self._model, self._engine, self._chat = model, model.engine, model.chat_format

    def __call__(
        self, asked: "Sequence[Asked]", adapter: "Adapter", *, length: int, temperature: float
    ) -> "list[list[Sampled]]":
        """As `tuning.Sampler`. Raises EngineError."""
        from ouvert.engine import ScaledAdapter, Variant

        digest = self._engine.adapters.add(adapter)
        variant = Variant((ScaledAdapter(digest),))
        try:
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ouvert-sample") as pool:
                writing = [
                    [pool.submit(self._one, each, seed, variant, length, temperature) for seed in each.seeds]
                    for each in asked
                ]
                return [[one.result() for one in group] for group in writing]
        finally:
            self._engine.adapters.remove(digest)

    def _one(self, asked: "Asked", seed: int, variant: "Variant", length: int, temperature: float) -> "Sampled":
        import numpy as np

        from ouvert.engine import Sampling
        from ouvert.tuning import Sampled

        sampling = Sampling(
            temperature=temperature, seed=seed, max_tokens=length, stop_ids=self._chat.stop_ids, logprobs=0
        )
        generation = self._engine.generate(asked.ids.tolist(), sampling, variant)
        tokens = list(generation)
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
