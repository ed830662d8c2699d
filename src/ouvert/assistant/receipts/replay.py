"""An answer made once more from its receipt, and compared token by token: docs/formats/receipt.md."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ouvert.assistant.assistant import Assistant
from ouvert.assistant.demands import Demands, as_demands
from ouvert.assistant.events import Finished
from ouvert.assistant.receipts.contents import Contents
from ouvert.assistant.receipts.ended import Identity
from ouvert.assistant.receipts.ledger import LedgerError
from ouvert.assistant.receipts.receipt import (
    READABLE,
    SINCE,
    VERSION,
    identity_facts,
    ids_digest,
    sampling_facts,
)
from ouvert.assistant.request import ChatRequest
from ouvert.chat import Conversation
from ouvert.engine import BASE, Constraint, Engine, Grammar, Sampling, Variant

# What decides an answer's tokens. The number of threads is among it so that a change is said; it changes no number.
DECIDING = ("model", "engine", "sampling", "asked")
# A name changes nothing; whether weights were checked yet says when, not what; the digest of an identity is told by the
# fields that it is of.
NOT_COMPARED = frozenset({"model.name", "model.weights_checked", "engine.identity_digest"})


PACKED = "model.packed_digest"
PACKED_FROM = ("model.weights_digest", "model.configuration_digest", "engine.layout")


@dataclass(frozen=True, slots=True)
class Change:
    """A field of the receipt that is not now what it was; None where it is absent."""

    field: str
    was: Any
    now: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of an answer made once more.

    `agrees`: the same tokens, as far as the first answer went. `differs_at`: the place of the first token that is not
    the same, with what it `was` and is `now` (None past an end); known only where contents were kept.
    """

    agrees: bool
    prompt_agrees: bool
    tokens: int
    differs_at: int | None
    was: int | None
    now: int | None
    changes: tuple[Change, ...]


def changes_between(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """The fields of two receipts that decide an answer and are not the same, as far as both versions have them."""
    version = min(receipt.get("receipt", VERSION) for receipt in (was, now))
    before, after = dict(deciding(was)), dict(deciding(now))
    # Of other weights, in another layout, or of none (NumPy), packed weights are others, too: no change of its own.
    if any(before.get(field) != after.get(field) for field in PACKED_FROM) or None in (
        before.get(PACKED),
        after.get(PACKED),
    ):
        before.pop(PACKED, None)
        after.pop(PACKED, None)
    return tuple(
        Change(field, before.get(field), after.get(field))
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field) and field not in NOT_COMPARED and SINCE.get(field, 0) <= version
    )


def not_recorded(receipt: Mapping[str, Any]) -> list[str]:
    """Fields that decide an answer and that receipts of this one's version do not have."""
    return [field for field, since in SINCE.items() if since > receipt.get("receipt", VERSION)]


def deciding(receipt: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in DECIDING:
        yield from ((f"{part}.{name}", value) for name, value in receipt.get(part, {}).items())


def check_version(receipt: Mapping[str, Any], operation: str) -> None:
    """Raises LedgerError for a receipt of a version that is not understood here."""
    version = receipt.get("receipt")
    if version not in READABLE:
        raise LedgerError(
            f"{operation}: the receipt's version is {version!r}, expected {' or '.join(map(str, READABLE))}. Use the "
            f"version of Ouvert that wrote it ({receipt.get('engine', {}).get('version', 'it does not say which')}); "
            "`ouvert receipt show` prints it as it is."
        )


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
    """As it was used. Raises LedgerError for a setting this version does not know."""
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
    demands = as_demands(
        asked.get("tool_choice", "auto"),
        conversation.tools,
        None,
        grammar,
        asked.get("think_budget"),
        asked.get("one_call", False),
    )
    demands = replace(demands, best_of=asked.get("best_of", 1), candidate=asked.get("candidate", 0))
    if demands.facts().get("answer") != asked.get("answer"):
        raise LedgerError(
            f"replaying: the answer was held to {asked.get('answer')}, given is {demands.facts().get('answer')}, "
            "expected the same. Give the very schema with --schema, or none if there was none."
        )
    return demands


def conversation_asked(
    assistant: Assistant, receipt: Mapping[str, Any], conversation: Conversation
) -> Conversation | None:
    """The beginning of `conversation` whose prompt has the receipt's digest; None if no beginning has it."""
    wanted = receipt["tokens"]["prompt_digest"]
    if receipt.get("asked", {}).get("tool_choice") == "none" and not assistant.chat.guides:
        conversation = replace(conversation, tools=())  # as an answer leaves them out
    stated = receipt.get("messages", ())
    refused = {n for n, each in enumerate(stated) if each.get("refused") and not each.get("sent")}
    for end in range(len(conversation.messages), 0, -1):
        given = conversation.messages[:end]
        sent = tuple(each for n, each in enumerate(given) if n not in refused) if end == len(stated) else given
        beginning = replace(conversation, messages=sent)
        if beginning.messages[-1].role != "assistant" and wanted == ids_digest(assistant.chat.render(beginning).ids):
            return beginning
    return None


def replay(
    assistant: Assistant,
    receipt: Mapping[str, Any],
    conversation: Conversation,
    demands: Demands,
    *,
    contents: Contents | None = None,
    sampling: Sampling | None = None,
    variant: Variant = BASE,
) -> Replayed:
    """Answer the conversation again as the receipt says, or with another `sampling`, and compare.

    `variant`: the one whose digest the receipt has. Nothing is added to a ledger. Raises what `Assistant.answer`
    raises, and LedgerError.
    """
    check_variant(receipt, variant)
    stop: Sequence[str] = receipt["sampling"].get("stop", ())
    quiet = Assistant(
        assistant.engine,
        assistant.chat,
        assistant.identity.model,
        assistant.identity.tokenizer_digest,
        lambda: assistant.grammars.vocabulary,
        sampling=sampling or sampling_of(receipt),
    )
    answer = quiet.answer(ChatRequest(conversation=conversation, demands=demands, stop=tuple(stop), variant=variant))
    length = receipt["tokens"]["output"] if contents is None else len(contents.output)
    finished: Finished | None = None
    for event in answer:
        if isinstance(event, Finished):
            finished = event
        elif len(answer.token_ids) >= length and receipt["ended"]["reason"] in ("cancelled", "timeout"):
            answer.cancel()  # as it was ended from outside
    if finished is None:
        raise AssertionError("an answer ended without Finished")
    now = answer.token_ids
    cut = receipt["ended"]["reason"] in ("cancelled", "timeout")
    compared = now[:length] if cut else now
    changes = changes_between(receipt, finished.receipt)
    return compare(receipt, answer.prompt_ids, compared, None if contents is None else contents.output, changes)


def replay_tokens(
    engine: Engine,
    identity: Identity,
    receipt: Mapping[str, Any],
    prompt: Sequence[int],
    demands: Demands,
    *,
    constraint: Constraint | None = None,
    format_stop_ids: Collection[int] = (),
    output: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    variant: Variant = BASE,
) -> Replayed:
    """Read the prompt's tokens again, write as many as the answer had, and compare them.

    `constraint` is what `demands` ask for, compiled; `format_stop_ids` end an answer beside those the receipt names.
    `output` are the answer's tokens, if they are known. `variant`: as in `replay`. Raises EngineError and LedgerError.
    """
    check_variant(receipt, variant)
    asked_for = sampling or sampling_of(receipt)
    length = receipt["tokens"]["output"]
    now: list[int] = []
    if length:
        stop_ids = asked_for.stop_ids | frozenset(format_stop_ids)
        settings = replace(asked_for, max_tokens=length, constraint=constraint, stop_ids=stop_ids)
        now = [token.id for token in engine.generate(list(prompt), settings, variant)]
    seed = receipt["sampling"]["seed"] if asked_for.seed is None else asked_for.seed
    stated = sampling_facts(asked_for, receipt["sampling"].get("stop", ()), seed, asked_for.stop_ids)
    # What was asked beside demands decides the prompt, and stands in its tokens.
    asked = {**receipt.get("asked", {}), **demands.facts()}
    current = {**identity_facts(identity, engine.facts.of_variant(variant)), "sampling": stated, "asked": asked}
    return compare(receipt, prompt, now, output, changes_between(receipt, current))


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
