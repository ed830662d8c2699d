"""Texts to vectors: the task that every dialect's endpoint of embeddings begins."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ouvert.assistant import BASE, Embeddings, Model, Usage, Variant
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.loaded_models import Lease
from ouvert.serving.streams import unless_gone

MOST_TEXTS = 2048  # OpenAI's
Texts = Sequence[str | Sequence[int]]


@dataclass(frozen=True, slots=True)
class EmbeddingTask:
    """Texts to be made into vectors, all at once. `truncate`: of a text that does not fit, the beginning counts."""

    model: str
    texts: Texts
    dimensions: int | None
    truncate: bool
    choices: int = 1
    variant: Variant = BASE

    def start(self, lease: Lease, number: int) -> "Embedding":
        return Embedding(lease.model, self)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A choice of one event: all vectors."""

    model: Model
    task: EmbeddingTask

    def __iter__(self) -> Iterator[Embeddings]:
        task = self.task
        yield self.model.embed(task.texts, dimensions=task.dimensions, truncate=task.truncate)

    def cancel(self) -> None:
        """Nothing: the computation is short, and nobody waits for it."""


async def embedded(
    call: Call, model: str, texts: Texts, dimensions: int | None, *, truncate: bool, keep: float | None = float("nan")
) -> Embeddings:
    """`keep`: seconds the model stays from now on, if the client says so. Raises Refusal."""

    installed = call.service.permitted(model, call.caller)
    if (await call.service.description(installed)).embedding_size is None:
        raise Refusal(
            400,
            f"{installed.name} writes text and was not trained to make embeddings: vectors taken from its inside would "
            "compare badly. Use a model made for them, such as Qwen3-Embedding.",
            code="model_cannot_embed",
            param="model",
        )
    task = EmbeddingTask(model, texts, dimensions, truncate)
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, "embd-" + secrets.token_hex(12)))
    answer.keep = keep
    try:
        [found] = await unless_gone(call.request, collected(answer))
        answer.count_tokens(Usage(prompt=sum(found.tokens), reused=0, output=0, reasoning=0))
    finally:
        await answer.close()
    return found


async def collected(answer: AnswerInProgress[Embeddings]) -> list[Embeddings]:
    return [event async for _, event in answer]
