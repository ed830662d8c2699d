"""The tokens of an answer that was given, from its receipt and what was said: what a look inside takes.

Nothing is taken for the answer that is not: the tokens have the digests of the receipt, and the model that would
compute them again gives the same bits. Else it is refused, with what differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ouvert.assistant.receipts.comparison import changes_between, check_readable
from ouvert.assistant.receipts.ended import NO_FORMAT
from ouvert.assistant.receipts.ledger import LedgerError, receipt_digest
from ouvert.assistant.receipts.receipt import identity_facts, ids_digest
from ouvert.assistant.receipts.replay import (
    CUT_FROM_OUTSIDE,
    ReplayingModel,
    ReplayInput,
    conversation_asked,
    demands_of,
    read_to_its_end,
    ready_variant,
    sampling_of,
)
from ouvert.assistant.request import ChatRequest
from ouvert.assistant.transcript import Transcript, channels_of
from ouvert.chat import ChatError, ChatFormat, Conversation, Rendered
from ouvert.engine import Variant

OPENING = "opening a receipt"
# Fields of a receipt that say where and how fast, and how text became tokens: none of them changes a number.
NOT_NUMBERS: tuple[str, ...] = (
    "engine.threads", "engine.instruction_set", "engine.version", "model.template", "model.tokenizer", "model.format",
    "model.end_ids", "sampling.", "asked.",
)  # fmt: skip


def reopened(model: ReplayingModel, receipt: Mapping[str, Any], said: ReplayInput) -> Transcript:
    """The transcript of the receipt's answer.

    `said` as for `replay`; where it has only a conversation, the answer is written once more, and it is checked that it
    is the same. Raises LedgerError for a receipt that is not understood here, where what is said is not enough or not
    what was said, and where this model would give other numbers; what `Assistant.answer` raises.
    """
    check_readable(receipt, OPENING)
    if (kept := said.contents) is not None:
        said = replace(said, prompt=kept.prompt, output=kept.output, conversation=kept.conversation,
                       variant=said.variant or kept.variant)  # fmt: skip
    variant = ready_variant(model, receipt, said.variant, OPENING)
    check_numbers(model, receipt, variant)
    if said.prompt is None or said.output is None:
        return written_again(model, receipt, said, variant)
    check_tokens(receipt, said.prompt, said.output)
    of_a_text = receipt["model"].get("format") == NO_FORMAT
    chat = None if of_a_text or said.conversation is None else model.assistant.chat
    rendered = None if chat is None else rendered_as(chat, said.conversation, said.prompt)
    return transcript(receipt, said.prompt, said.output, variant, chat, rendered, said.conversation)


def check_numbers(model: ReplayingModel, receipt: Mapping[str, Any], variant: Variant) -> None:
    """Raises LedgerError, with what differs, unless this model gives the bits of the receipt's answer."""
    facts = model.engine.facts.of_variant(variant)
    if receipt["engine"].get("identity_digest") == facts.identity.digest:
        return
    of_a_text = receipt["model"].get("format") == NO_FORMAT
    identity = model.text_identity if of_a_text else model.assistant.identity_like(receipt)
    changes = [
        change
        for change in changes_between(receipt, identity_facts(identity, facts))
        if not change.field.startswith(NOT_NUMBERS)
    ]
    what = "; ".join(f"{change.field} was {change.was!r:.80}, now {change.now!r:.80}" for change in changes[:4])
    raise LedgerError(
        f"{OPENING}: this model would give other numbers than the answer had: "
        f"{what or 'the receipt does not say what decided them'}. Load the model as it was then, with the build of "
        "Ouvert that wrote the receipt; or ask again, and look into the new answer."
    )


def check_tokens(receipt: Mapping[str, Any], prompt: Sequence[int], output: Sequence[int]) -> None:
    """Raises LedgerError for tokens that are not the receipt's."""
    for name, ids in (("prompt", prompt), ("output", output)):
        if ids_digest(ids) != receipt["tokens"][f"{name}_digest"]:
            raise LedgerError(
                f"{OPENING}: the {len(ids)} tokens of the {name} are not those of the receipt, expected the digest "
                f"{receipt['tokens'][f'{name}_digest']}. Give what was kept beside this receipt."
            )


def written_again(model: ReplayingModel, receipt: Mapping[str, Any], said: ReplayInput, variant: Variant) -> Transcript:
    """That of an answer of which only the conversation is known: it is written once more."""
    if receipt["model"].get("format") == NO_FORMAT or said.conversation is None:
        raise LedgerError(
            f"{OPENING}: what was said is not known, expected what was kept beside the receipt, the conversation, or "
            "the ids of prompt and output. Give it, or have what is said kept from now on: --receipts contents, or "
            'receipts = "contents" in the configuration file.'
        )
    assistant = model.assistant
    conversation = conversation_asked(assistant, receipt, said.conversation) or said.conversation
    request = ChatRequest(
        conversation=conversation,
        demands=demands_of(receipt, conversation, said.grammar),
        stop=tuple(receipt["sampling"].get("stop", ())),
        variant=variant,
    )
    answer = assistant.without_memory(sampling_of(receipt)).answer(request)
    length = receipt["tokens"]["output"]
    read_to_its_end(answer, length if receipt["ended"]["reason"] in CUT_FROM_OUTSIDE else None)
    check_tokens(receipt, answer.prompt_ids, answer.token_ids[:length])
    chat = assistant.chat.for_conversation(answer.conversation)
    output = answer.token_ids[:length]
    return transcript(receipt, answer.prompt_ids, output, variant, chat, answer.rendered, answer.conversation)


def rendered_as(chat: ChatFormat, conversation: Conversation | None, prompt: Sequence[int]) -> Rendered | None:
    """The conversation as it was written then; None where it would be written otherwise now."""
    if conversation is None:
        return None
    try:
        rendered = chat.render(conversation)
    except ChatError:
        return None
    return rendered if rendered.ids == tuple(prompt) else None


def transcript(
    receipt: Mapping[str, Any],
    prompt: Sequence[int],
    output: Sequence[int],
    variant: Variant,
    chat: ChatFormat | None,
    rendered: Rendered | None,
    conversation: Conversation | None,
) -> Transcript:
    """Whose the tokens are is said where it is known."""
    known = chat is not None and rendered is not None and conversation is not None
    return Transcript(
        prompt_ids=tuple(prompt),
        output_ids=tuple(output),
        spans=rendered.spans if known and rendered is not None else (),
        channels=channels_of(output, rendered, chat) if chat is not None and rendered is not None else (),
        message=len(conversation.messages) if known and conversation is not None else None,
        expanded=receipt["tokens"].get("expanded", 0),
        variant=variant,
        receipt=receipt_digest(receipt),
    )
