"""`ask_model` and `models_list`: a question to a model of this machine, and which models there are."""

import asyncio
import secrets
import time
from typing import Annotated, Any

from pydantic import BaseModel, Field

from ouvert.assistant import ChatRequest, Cited, Event, Finished, Message, Reading, TextDelta, Thinking, as_conversation
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.consulting import LONGEST, MOST_COLLECTIONS, from_documents
from ouvert.serving.endpoints import MOST_TOKENS
from ouvert.serving.errors import Refusal
from ouvert.serving.mcp.use import Arguments, Say, Tool, Use
from ouvert.serving.model_facts import efforts_of
from ouvert.serving.service import AGENT, Service

BETWEEN = 1.0  # seconds between signs of life
LONGEST_QUESTION = 1_000_000  # characters
LONGEST_ANSWER = 100_000


class Question(Arguments):
    question: str = Field(min_length=1, max_length=LONGEST_QUESTION)
    model: str | None = Field(
        None, min_length=1, max_length=512, description="as models_list names it; may be left out where there is one"
    )
    effort: str | None = Field(None, max_length=20, description="how much it thinks: none, minimal, low, medium, high")
    instructions: str | None = Field(None, max_length=LONGEST_QUESTION, description="how it is to answer")
    documents: list[Annotated[str, Field(max_length=LONGEST)]] = Field(
        default_factory=list,
        max_length=MOST_COLLECTIONS,
        description="collections, as documents_collections names them, that it answers from, with citations",
    )
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="of thoughts and answer together")


class Answered(BaseModel):
    """`citations`: for each mark in the answer document, page, characters and the words that stand there. `ended`:
    stop, length, timeout, repetition. `cut`: the answer was longer, and this is its beginning. `receipt`: its id, which
    /v1/receipts/ID of a server shows. `not_honoured`: what of the request could not be kept, in words."""

    model: str
    answer: str
    citations: list[dict[str, Any]]
    ended: str
    cut: bool
    tokens: int
    thought_tokens: int
    receipt: str
    not_honoured: list[str]


class Nothing(Arguments):
    pass


class ModelFacts(BaseModel):
    name: str
    efforts: list[str]
    state: str
    bytes: int


class Models(BaseModel):
    models: list[ModelFacts]


async def ask_model(use: Use) -> Answered:
    question: Question = use.arguments
    name = question.model or only_model(use)
    if name.startswith(AGENT):
        raise Refusal(400, f"model: {name:.80} is an agent. The tool agent_run gives it a task.", param="model")
    said = [Message(role="system", content=question.instructions)] if question.instructions else []
    wanted = ChatRequest(
        conversation=as_conversation([*said, Message(role="user", content=question.question)]),
        thinking=Thinking(effort=question.effort),
        lenient=True,
        sampling={} if question.max_tokens is None else {"max_tokens": question.max_tokens},
        progress=True,
    )
    if question.documents:
        wanted = from_documents(wanted, question.documents, use.service, use.caller, field="documents")
    await use.say(f"waiting for {name}")
    receipt = "mcp-" + secrets.token_hex(12)
    answer = await use.service.answer(name, wanted, use.caller, receipt)
    try:
        return await read_answer(answer, use.say, receipt)
    finally:
        await answer.close()


async def read_answer(answer: AnswerInProgress[Event], say: Say, receipt: str) -> Answered:
    texts: list[str] = []
    citations: list[dict[str, Any]] = []
    finished: Finished | None = None
    steps, told = 0, time.monotonic()
    async for _, event in answer:
        steps += 1
        match event:
            case TextDelta(text):
                texts.append(text)
            case Cited():
                citations.append(dict(event.facts))
            case Finished():
                finished = event
        if time.monotonic() - told >= BETWEEN:
            told = time.monotonic()
            reads = isinstance(event, Reading)
            await say("reading the prompt" if reads else f"{'writing' if texts else 'thinking'}: {steps} pieces")
    if finished is None:
        raise AssertionError("an answer ends with Finished, or raises")
    text = "".join(texts)
    return Answered(
        model=answer.name,
        answer=text[:LONGEST_ANSWER],
        citations=citations,
        ended=finished.reason,
        cut=len(text) > LONGEST_ANSWER,
        tokens=finished.usage.output,
        thought_tokens=finished.usage.reasoning,
        receipt=receipt,
        not_honoured=answer.notes,
    )


def offered(service: Service, use: Use) -> list[Any]:
    return [each for each in service.loaded_models.catalog.every() if use.caller.admits(each.name)]


def only_model(use: Use) -> str:
    """The one that answers where none is named: the first that the owner named, or the only one. Raises Refusal."""
    first = [each for each in use.service.loaded_models.catalog.first if use.caller.admits(each.name)]
    models = first[:1] or offered(use.service, use)
    if len(models) != 1:
        names = ", ".join(each.called for each in models) or "none yet: `ouvert pull smollm2` brings one"
        raise Refusal(400, f"model: none was named, expected one of: {names}.", param="model")
    return str(models[0].called)


async def models_list(use: Use) -> Models:
    def facts() -> list[ModelFacts]:
        loaded = use.service.loaded_models
        return [
            ModelFacts(
                name=each.called,
                efforts=list(efforts_of(use.service, each)),
                state=loaded.state_of(each.called)[0],
                bytes=each.size,
            )
            for each in offered(use.service, use)
        ]

    return Models(models=await asyncio.to_thread(facts))


TOOLS = (
    Tool(
        name="ask_model",
        description=(
            "Ask an open-weight model that runs on this machine; nothing leaves the machine. With `documents` it "
            "answers from passages of those collections, and each [1] in its answer has its place in `citations`; "
            "[unsupported] marks one that leads nowhere. It knows nothing of other calls."
        ),
        arguments=Question,
        gives=Answered,
        carry_out=ask_model,
    ),
    Tool(
        name="models_list",
        description="The models on this machine, the efforts each of them knows, and whether it is in memory.",
        arguments=Nothing,
        gives=Models,
        carry_out=models_list,
    ),
)
