"""The tokens of an answer, and whose they are: what a look inside takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ouvert.assistant.answer import Answer
from ouvert.assistant.events import Finished
from ouvert.assistant.receipts.ledger import receipt_digest
from ouvert.chat import ChatFormat, Rendered, Span, ToolCallDelta
from ouvert.engine import BASE, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """An answer's tokens behind its prompt's; of a text that was only read, there is no output.

    `spans` say which tokens of the prompt came from which message. `channels`: of each token of the output,
    "analysis", "commentary" or "final". `message`: which message of the conversation the answer is. `expanded`: how
    many tokens were computed in the expanded form. `receipt`: the digest of the answer's receipt.
    """

    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...] = ()
    spans: tuple[Span, ...] = ()
    channels: tuple[str | None, ...] = ()
    message: int | None = None
    expanded: int = 0
    variant: Variant = BASE
    receipt: str | None = None


def transcript_of(answer: Answer, chat: ChatFormat) -> Transcript:
    """That of an answer, which is written to its end here, in this format. Raises what iterating it raises."""
    finished = next(event for event in answer if isinstance(event, Finished))
    return Transcript(
        prompt_ids=answer.prompt_ids,
        output_ids=tuple(answer.token_ids),
        spans=answer.rendered.spans,
        channels=channels_of(answer.token_ids, answer.rendered, chat.for_conversation(answer.conversation)),
        message=len(answer.conversation.messages),
        expanded=finished.receipt["tokens"].get("expanded", 0),
        variant=answer.request.variant,
        receipt=receipt_digest(finished.receipt),
    )


def channels_of(output: Sequence[int], rendered: Rendered, chat: ChatFormat) -> tuple[str, ...]:
    """The channel of each token of an answer: thoughts are "analysis", tokens that add to a call are "commentary", and
    all others are "final"."""
    parser = chat.parser(rendered)
    channels = []
    for token in output:
        thought = parser.reasoning_tokens
        deltas = parser.push(token)
        if parser.reasoning_tokens > thought:
            channels.append("analysis")
        else:
            channels.append("commentary" if any(isinstance(each, ToolCallDelta) for each in deltas) else "final")
    return tuple(channels)
