"""An answer made once more from its receipt, and compared token by token: docs/formats/receipt.md."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ouvert.assistant.adapters import ModelAdapters
from ouvert.assistant.answer import Answer
from ouvert.assistant.assistant import Assistant
from ouvert.assistant.demands import AnswerForm, Demands, as_demands
from ouvert.assistant.events import Finished
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.receipts.comparison import Change, changes_between, check_readable
from ouvert.assistant.receipts.contents import Contents
from ouvert.assistant.receipts.ended import NO_FORMAT, Identity
from ouvert.assistant.receipts.ledger import LedgerError
from ouvert.assistant.receipts.receipt import identity_facts, ids_digest, sampling_facts
from ouvert.assistant.request import ChatRequest
from ouvert.chat import Conversation, Message, Tool
from ouvert.engine import BASE, Constraint, Engine, Grammar, Sampling, ScaledAdapter, Variant
from ouvert.store import StoreError

CUT_FROM_OUTSIDE = ("cancelled", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayInput:
    """What was said when the answer of a receipt was made, as far as its owner knows it.

    `contents`: as kept beside the receipt; nothing else is needed then. Else the `conversation`, which may go on behind
    the answer, or the ids of the `prompt`, and those of the `output` where they are known. `grammar`: what the answer
    was held to. `variant`: of the model; left out, that of the contents, else the adapters that the receipt names.
    """

    contents: Contents | None = None
    conversation: Conversation | None = None
    prompt: Sequence[int] | None = None
    output: Sequence[int] | None = None
    grammar: Grammar | None = None
    variant: Variant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of an answer made once more.

    `agrees`: the same tokens, as far as the first answer went. `differs_at`: the place of the first token that is not
    the same, with what it `was` and is `now` (None past an end); known only where the first answer's tokens are.
    """

    agrees: bool
    prompt_agrees: bool
    tokens: int
    differs_at: int | None
    was: int | None
    now: int | None
    changes: tuple[Change, ...]


class ReplayingModel(Protocol):
    """The members of a model that a replay uses."""

    @property
    def engine(self) -> Engine: ...

    @property
    def assistant(self) -> Assistant:
        """Only a model with a chat format has one."""

    @property
    def text_identity(self) -> Identity: ...

    @property
    def adapters(self) -> ModelAdapters: ...

    def constraint(self, grammar: Grammar) -> Constraint: ...


def replay(
    model: ReplayingModel, receipt: Mapping[str, Any], said: ReplayInput, sampling: Sampling | None = None
) -> Replayed:
    """Make the receipt's answer once more, as the receipt says or with another `sampling`, and compare.

    Nothing is added to a ledger. Raises LedgerError for a receipt that is not understood here, and where what is `said`
    is not enough; what `Assistant.answer` raises.
    """
    check_readable(receipt, "replaying a receipt")
    sampling = sampling or sampling_of(receipt)
    of_a_text = receipt["model"].get("format") == NO_FORMAT
    if (kept := said.contents) is not None:
        said = replace(said, prompt=kept.prompt, output=kept.output, variant=said.variant or kept.variant)
    said = replace(said, variant=ready_variant(model, receipt, said.variant, "replaying"))
    if kept is not None:
        if kept.conversation is None:
            return replay_tokens(model, receipt, kept.demands, said, sampling)
        return replay_conversation(model.assistant, receipt, kept.conversation, kept.demands, said, sampling)
    if said.prompt is not None:
        return replay_tokens(model, receipt, demands_of_tokens(model, receipt, said.grammar), said, sampling)
    if of_a_text or said.conversation is None:
        needed = "the ids of its prompt" if of_a_text else "its conversation, or the ids of its prompt"
        raise LedgerError(
            f"replaying a receipt: what was said is not known, expected {needed}. Give that; or keep contents beside "
            "receipts from now on."
        )
    conversation = conversation_asked(model.assistant, receipt, said.conversation) or said.conversation
    demands = demands_of(receipt, conversation, said.grammar)
    return replay_conversation(model.assistant, receipt, conversation, demands, said, sampling)


def replay_conversation(
    assistant: Assistant,
    receipt: Mapping[str, Any],
    conversation: Conversation,
    demands: Demands,
    said: ReplayInput,
    sampling: Sampling,
) -> Replayed:
    """Answer the conversation again. Raises what `Assistant.answer` raises."""
    cut = receipt["ended"]["reason"] in CUT_FROM_OUTSIDE
    length = receipt["tokens"]["output"] if said.output is None else len(said.output)
    request = ChatRequest(
        conversation=conversation,
        demands=demands,
        stop=tuple(receipt["sampling"].get("stop", ())),
        variant=said.variant or BASE,
    )
    answer = assistant.without_memory(sampling).answer(request)
    finished = read_to_its_end(answer, length if cut else None)
    now = answer.token_ids[:length] if cut else answer.token_ids
    changes = changes_between(receipt, finished.receipt)
    return compare(receipt, answer.prompt_ids, now, said.output, changes)


def read_to_its_end(answer: Answer, length: int | None) -> Finished:
    """The answer's last event; it is ended after `length` tokens where that is given."""
    for event in answer:
        if isinstance(event, Finished):
            return event
        if length is not None and len(answer.token_ids) >= length:
            answer.cancel()
    raise AssertionError("an answer ended without Finished")


def replay_tokens(
    model: ReplayingModel, receipt: Mapping[str, Any], demands: Demands, said: ReplayInput, sampling: Sampling
) -> Replayed:
    """Read the prompt's tokens again, write as many as the answer had, and compare them. Raises EngineError."""
    of_a_text = receipt["model"].get("format") == NO_FORMAT
    identity = model.text_identity if of_a_text else model.assistant.identity_like(receipt)
    format_stop_ids = frozenset() if of_a_text else model.assistant.chat.stop_ids
    prompt, length = said.prompt or (), receipt["tokens"]["output"]
    now: list[int] = []
    if length:
        constraint = None if demands.answer is None else model.constraint(demands.answer)
        stop_ids = sampling.stop_ids | format_stop_ids
        settings = replace(sampling, max_tokens=length, constraint=constraint, stop_ids=stop_ids)
        # Of how many tokens were computed in the expanded form the same again follow.
        first_turn = receipt["tokens"].get("expanded", 0)
        written = model.engine.generate(list(prompt), settings, said.variant or BASE, first_turn=first_turn)
        now = [token.id for token in written]
    seed = receipt["sampling"]["seed"] if sampling.seed is None else sampling.seed
    current = {
        **identity_facts(identity, model.engine.facts.of_variant(said.variant or BASE)),
        "sampling": sampling_facts(sampling, receipt["sampling"].get("stop", ()), seed, sampling.stop_ids),
        # What was asked beside demands decides the prompt, and stands in its tokens.
        "asked": {**receipt.get("asked", {}), **demands.facts()},
    }
    return compare(receipt, prompt, now, said.output, changes_between(receipt, current))


def ready_variant(model: ReplayingModel, receipt: Mapping[str, Any], stated: Variant | None, operation: str) -> Variant:
    """The variant that wrote the receipt's answer, its adapters ready to compute: the one that was stated, or that
    which the receipt's adapters make. Raises LedgerError for another variant than the receipt's, and where an adapter
    is not on this machine any more or does not compute as it did."""
    variant = adapters_of(receipt) if stated is None else stated
    check_variant(receipt, variant)
    try:
        model.adapters.ready(variant)
    except StoreError as problem:
        raise LedgerError(
            f"{operation}: the answer was written with {' and '.join(variant.parts)}. {problem}"
        ) from None
    return variant


def adapters_of(receipt: Mapping[str, Any]) -> Variant:
    """The variant of the adapters that a receipt names. Raises LedgerError for what names none."""
    try:
        named = [ScaledAdapter(each["digest"], each.get("scale", 1.0)) for each in receipt.get("adapters", ())]
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise LedgerError(
            f"reading a receipt: its adapters are {receipt.get('adapters')!r:.80} ({problem!r:.80}), expected objects "
            "with the digest of each. Give the receipt as it was written."
        ) from None
    return Variant(tuple(named))


def check_variant(receipt: Mapping[str, Any], variant: Variant) -> None:
    """Raises LedgerError for a receipt of another variant of the model: its answer would be computed with other
    numbers."""
    stated = receipt["engine"].get("variant", BASE.digest)
    if stated != variant.digest:
        raise LedgerError(
            f"replaying: the answer was computed by the variant {stated} of the model, given is {variant.digest}, "
            "expected the same. Give the same adapters and edits, in the same order and with the same scales; the "
            "variant base has none."
        )


def sampling_of(receipt: Mapping[str, Any]) -> Sampling:
    """The receipt's sampling, as it was used. Raises LedgerError for a setting this version does not know."""
    stated = dict(receipt["sampling"])
    stated.pop("stop", None)
    bias = {int(token): value for token, value in stated.pop("logit_bias", {}).items()}
    stop_ids = frozenset(stated.pop("stop_ids", ()))
    try:
        return Sampling(logit_bias=bias, stop_ids=stop_ids, **stated)
    except TypeError as problem:
        raise LedgerError(
            f"replaying: the receipt's sampling is {stated}, and this version does not know all of it ({problem}). "
            f"Use version {receipt['engine']['version']}, which wrote it."
        ) from problem


def demands_of(receipt: Mapping[str, Any], conversation: Conversation, grammar: Grammar | None) -> Demands:
    """As the receipt says; a grammar has to be handed over, for the receipt has only its digest. Raises LedgerError."""
    asked = receipt.get("asked", {})
    if "arguments" in asked:
        raise LedgerError(
            f"replaying: the answer's calls were held to schemas of their own ({asked['arguments']}), expected none: "
            "it is a step of an agent. `ouvert agent replay RUN` replays its whole run."
        )
    demands = as_demands(
        asked.get("tool_choice", "auto"),
        conversation.tools,
        AnswerForm(grammar=grammar),
        think_budget=asked.get("think_budget"),
        one_call=asked.get("one_call", False),
    )
    demands = replace(demands, best_of=asked.get("best_of", 1), candidate=asked.get("candidate", 0))
    if demands.facts().get("answer") != asked.get("answer"):
        raise LedgerError(
            f"replaying: the answer was held to {asked.get('answer')}, given is {demands.facts().get('answer')}, "
            "expected the same. Give the very schema again, or none if there was none."
        )
    return demands


def demands_of_tokens(model: ReplayingModel, receipt: Mapping[str, Any], grammar: Grammar | None) -> Demands:
    """What the receipt's answer was held to. Raises LedgerError where that takes more than the prompt's tokens."""
    if receipt["model"].get("format") != NO_FORMAT:
        asked = [name for name in ("tool_choice", "answer", "think_budget") if name in receipt.get("asked", {})]
        chat = model.assistant.chat
        if asked or chat.guides:
            held = " and ".join(asked) or f"the outline of {chat.name}"
            raise LedgerError(
                f"replaying from tokens: the answer was held to {held}, which takes the conversation, expected an "
                "answer that nothing held. Give the conversation."
            )
    return demands_of(receipt, Conversation(messages=()), grammar)


def conversation_as_asked(
    receipt: Mapping[str, Any],
    messages: str | Iterable[Message | Mapping[str, Any]],
    tools: Iterable[Tool | Mapping[str, Any]] | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Conversation:
    """The conversation, with the effort and the day that the receipt says. Raises LedgerError for a day that is none;
    what `as_conversation` raises."""
    asked = receipt.get("asked", {})
    return as_conversation(messages, tools, asked.get("effort"), asked.get("thinking"), day_asked(asked), schema)


def day_asked(asked: Mapping[str, Any]) -> datetime.date | None:
    """The day that the prompt names, if it names one. Raises LedgerError for what is no day."""
    try:
        return None if (date := asked.get("date")) is None else datetime.date.fromisoformat(date)
    except ValueError as problem:
        raise LedgerError(
            f"replaying a receipt: its asked.date is {date!r:.80}, expected a day as YYYY-MM-DD. Give the receipt as "
            "it was written: `Finished.receipt` or `Ledger.find` has it."
        ) from problem


def conversation_asked(
    assistant: Assistant, receipt: Mapping[str, Any], conversation: Conversation
) -> Conversation | None:
    """The beginning of `conversation` whose prompt has the receipt's digest, without the messages that were left out;
    None if no beginning has it."""
    wanted = receipt["tokens"]["prompt_digest"]
    if receipt.get("asked", {}).get("tool_choice") == "none" and not assistant.chat.guides:
        conversation = replace(conversation, tools=())  # as an answer leaves them out
    given, left_out = len(receipt.get("messages", ())), messages_left_out(receipt)
    for end in range(len(conversation.messages), 0, -1):
        messages = conversation.messages[:end]
        if end == given:
            messages = tuple(each for n, each in enumerate(messages) if n not in left_out)
        beginning = replace(conversation, messages=messages)
        if messages[-1].role != "assistant" and wanted == ids_digest(assistant.chat.render(beginning).ids):
            return beginning
    return None


def messages_left_out(receipt: Mapping[str, Any]) -> frozenset[int]:
    """The places of the messages that were given and not sent. Older receipts only count their tokens as refused."""
    if "left_out" in receipt:
        return frozenset(receipt["left_out"]["messages"])
    stated = receipt.get("messages", ())
    return frozenset(n for n, each in enumerate(stated) if each.get("refused") and not each.get("sent"))


def compare(
    receipt: Mapping[str, Any],
    prompt: Sequence[int],
    now: Sequence[int],
    output: Sequence[int] | None,
    changes: tuple[Change, ...],
) -> Replayed:
    """`output` are the tokens of the first answer, where they are known; `now` are those of the second."""
    agrees = ids_digest(now) == receipt["tokens"]["output_digest"]
    place = None
    if output is not None and not agrees:
        place = next(
            (n for n, (a, b) in enumerate(zip(output, now, strict=False)) if a != b), min(len(output), len(now))
        )
    return Replayed(
        agrees=agrees,
        prompt_agrees=ids_digest(prompt) == receipt["tokens"]["prompt_digest"],
        tokens=len(now),
        differs_at=place,
        was=None if place is None or output is None else at(output, place),
        now=None if place is None else at(now, place),
        changes=changes,
    )


def at(ids: Sequence[int], place: int) -> int | None:
    return ids[place] if place < len(ids) else None
