"""The receipt of an answer: docs/formats/receipt.md. What is not known is absent, never invented."""

import hashlib
import json
import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ouvert.assistant.events import Usage
from ouvert.chat import Conversation, Rendered
from ouvert.engine import EngineFacts, Sampling, Stopped

VERSION = 3
# Versions that `verify` and `replay` understand, and the fields that came later than the oldest of them.
READABLE = (2, 3)
SINCE = {
    "model.configuration_digest": 3,
    "model.packed_digest": 3,
    "model.end_ids": 3,
    "engine.arithmetic": 3,
    "engine.layout": 3,
    "engine.precision": 3,
    "engine.variant": 3,
}
NO_FORMAT = "none"  # of a text that is continued


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model is talking: its name here, the format it is talked to in, and the digests of what that rests on.

    Where a text is continued there is no format, and no template. `end_ids`: tokens that end an answer in this format.
    """

    model: str
    format: str
    tokenizer_digest: str
    template_digest: str | None = None
    end_ids: tuple[int, ...] = ()


@dataclass(slots=True)
class Held:
    """What became of holding an answer to its form. `loosened`: what of schemas that are not strict it is not held to.

    `untagged`: the answer was the JSON of calls without the marks of the model's syntax, and was read as such.
    """

    thinking_cut: bool = False
    untagged: bool = False
    loosened: list[str] = field(default_factory=list)
    thought_seconds: float | None = None

    def cut_thinking(self) -> None:
        self.thinking_cut = True


def write_receipt(
    identity: Identity,
    facts: EngineFacts,
    messages: Sequence[Mapping[str, Any]],
    asked: Mapping[str, Any],
    sampling: Sampling,
    stop: Sequence[str],
    stopped: Stopped,
    usage: Usage,
    reason: str,
    stopped_by: str | None,
    held: Held,
    prompt_ids: Sequence[int],
    output_ids: Sequence[int],
    mean_logprob: float | None = None,
    own_stop_ids: Collection[int] = (),
    connections: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A JSON object. `stopped_by` is the stop string that ended the answer, if one did.

    `messages` are as `sent_by_message` gives them; `asked` is what was demanded, and other wishes. `own_stop_ids` are
    the tokens that end an answer beside those of the chat format. `connections` are as `Guard.report` gives
    them.
    """
    return {
        "receipt": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **identity_facts(identity, facts.of_variant(stopped.variant)),
        "sampling": sampling_facts(sampling, stop, stopped.seed, own_stop_ids),
        "messages": list(messages),
        "asked": without_absent({**asked, "schemas_loosened": held.loosened or None}),
        "tokens": {
            "prompt": usage.prompt,
            "reused": usage.reused,
            "reasoning": usage.reasoning,
            "output": usage.output,
            "total": usage.prompt + usage.output,
            "prompt_digest": ids_digest(prompt_ids),
            "output_digest": ids_digest(output_ids),
            **without_absent({"mean_logprob": None if mean_logprob is None else round(mean_logprob, 6)}),
        },
        "ended": without_absent(
            {
                "reason": reason,
                "stop_string": stopped_by,
                "thinking_cut": held.thinking_cut or None,
                "calls_without_tags": held.untagged or None,
            }
        ),
        "seconds": without_absent(
            {
                "queued": round(stopped.seconds_queued, 6),
                "prefill": round(stopped.seconds_prefill, 6),
                "decode": round(stopped.seconds_decode, 6),
                "thinking": None if held.thought_seconds is None else round(held.thought_seconds, 6),
            }
        ),
        **without_absent(
            {
                "joules": None if stopped.joules is None else round(stopped.joules, 3),
                "connections": connections,
            }
        ),
    }


def identity_facts(identity: Identity, facts: EngineFacts) -> dict[str, Any]:
    """The parts `model` and `engine`: which model answers, and everything that changes its numbers."""
    numbers = facts.identity
    model = {
        "name": identity.model,
        "weights_digest": numbers.weights,
        "configuration_digest": numbers.configuration,
        "packed_digest": facts.packed_digest,
        "weights_checked": facts.weights_checked,
        "tokenizer_digest": identity.tokenizer_digest,
        "format": identity.format,
        "template_digest": identity.template_digest,
        "end_ids": list(identity.end_ids) or None,
    }
    engine = {
        "version": facts.version,
        "build_digest": numbers.build,
        "identity_digest": numbers.digest,
        "instruction_set": facts.instruction_set,
        "arithmetic": numbers.arithmetic,
        "layout": numbers.layout,
        "precision": numbers.precision,
        "variant": numbers.variant,
        "threads": facts.threads,
        "cache_type": numbers.cache,
        "exact": numbers.exact,
    }
    return {"model": without_absent(model), "engine": without_absent(engine)}


def fingerprint(identity: Identity, facts: EngineFacts, sampling: Sampling) -> str:
    """ "fp_<hex>": another one whenever the same request could give another answer. `sampling` is what is used where a
    request says nothing."""
    parts = [
        facts.identity.digest,
        identity.tokenizer_digest,
        identity.format,
        identity.template_digest,
        identity.end_ids,
        sampling_facts(sampling, (), 0),
    ]
    return "fp_" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def ids_digest(ids: Sequence[int]) -> str:
    """ "sha256:<hex>" over the ids, each as four bytes, the lowest first."""
    words = array("I", ids)
    if words.itemsize != 4:
        raise AssertionError(f"array('I') has items of {words.itemsize} bytes here, expected 4")
    if sys.byteorder == "big":
        words.byteswap()
    return f"sha256:{hashlib.sha256(words.tobytes()).hexdigest()}"


def sampling_facts(
    sampling: Sampling, stop: Sequence[str], seed: int, own_stop_ids: Collection[int] = ()
) -> dict[str, Any]:
    """Everything that decides which token is chosen, with the seed that was used."""
    facts = {
        "seed": seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": {str(token): bias for token, bias in sorted(sampling.logit_bias.items())} or None,
        "max_tokens": sampling.max_tokens,
        "repetition_guard": sampling.repetition_guard or None,
        "stop": list(stop) or None,
        "stop_ids": sorted(own_stop_ids) or None,
    }
    return without_absent(facts)


def requested(conversation: Conversation) -> dict[str, Any]:
    """What a conversation asks for beside its messages, for `asked`."""
    return {
        "effort": conversation.effort,
        "thinking": conversation.thinking,
        "date": None if conversation.date is None else conversation.date.isoformat(),
    }


def sent_by_message(
    conversation: Conversation,
    rendered: Rendered,
    restored: Collection[int] = (),
    left_out: Mapping[int, tuple[str, int]] | None = None,
) -> list[dict[str, Any]]:
    """For every message, in order: its role, its tokens in the prompt, and its tokens that were refused.

    `left_out` are messages that were given and not sent: place among all -> role and tokens. Where thoughts were put
    back (`restored`, places in `conversation`) it says so; their tokens are among those sent. Tokens the format adds of
    its own (headers, a default system prompt) belong to no message.
    """
    sent = [0] * len(conversation.messages)
    for span in rendered.spans:
        if span.message is not None:
            sent[span.message] += span.stop - span.start
    entries: list[dict[str, Any]] = [
        {"role": message.role, "sent": tokens, "refused": 0} | ({"reasoning_restored": True} if n in restored else {})
        for n, (message, tokens) in enumerate(zip(conversation.messages, sent, strict=True))
    ]
    for place, (role, tokens) in sorted((left_out or {}).items()):
        entries.insert(place, {"role": role, "sent": 0, "refused": tokens})
    return entries


def without_absent(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
