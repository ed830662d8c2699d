"""The receipt of an answer: docs/formats/receipt.md. What is not known is absent, never invented."""

import hashlib
import json
import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ouvert.assistant.receipts.ended import Ended, Identity
from ouvert.assistant.receipts.ledger import canonical, digest_of_line
from ouvert.chat import Conversation, Message, Rendered
from ouvert.engine import EngineFacts, OtherEngine, Sampling, Stopped

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


def write_receipt(
    ended: Ended,
    facts: EngineFacts,
    connections: Mapping[str, Any] | None = None,
    adapters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A JSON object. `connections` are as `Guard.report` gives them, `adapters` as `ModelAdapters.facts` does."""
    stopped = ended.stopped
    joules = None if stopped.joules is None else round(stopped.joules, 3)
    return {
        "receipt": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **identity_facts(ended.identity, facts.of_variant(stopped.variant)),
        "sampling": sampling_facts(ended.sampling, ended.stop, stopped.seed, ended.own_stop_ids),
        "messages": list(ended.messages),
        **({"left_out": left_out_facts(ended.left_out)} if ended.left_out else {}),
        **({"adapters": [dict(each) for each in adapters]} if adapters else {}),
        **edit_facts(stopped),
        "asked": asked_facts(ended),
        "tokens": token_facts(ended),
        "ended": ending_facts(ended),
        "seconds": second_facts(stopped, ended.outcome.thought_seconds),
        **pool_facts(stopped),
        **without_absent({"watched": ended.watched}),
        **ended.cited,
        **without_absent({"joules": joules, "experts": expert_facts(stopped), "connections": connections}),
    }


def pool_facts(stopped: Stopped) -> dict[str, Any]:
    """The part `pool`, where the answer came from one: who wrote it, and where it went on at another member."""
    if not stopped.parts:
        return {}
    members = [
        {"member": part.member, "start": part.start, "identity_digest": part.facts.identity.digest}
        for part in stopped.parts
    ]
    differ = len({member["identity_digest"] for member in members}) > 1
    resumed = [part.start for part in stopped.parts[1:]]
    return {
        "pool": {
            "members": members,
            **without_absent({"resumed_at": resumed or None, "resumed_on_other_engine": differ or None}),
        }
    }


def edit_facts(stopped: Stopped) -> dict[str, Any]:
    """The part `edits`, of an answer that was edited: each edit with its digest in place of its numbers."""
    edits = [edit.facts() for edit in stopped.variant.edits]
    shown = [
        {
            **{name: value for name, value in facts.items() if name != "values"},
            "digest": digest_of_line(canonical(facts)),
        }
        for facts in edits
    ]
    return {"edits": shown} if shown else {}


def left_out_facts(messages: Mapping[int, Message]) -> dict[str, Any]:
    """Which messages were not sent, and the digest of them all: nothing else in a receipt is of them."""
    said = [
        {name: value for name, value in asdict(messages[place]).items() if value not in (None, "", ())}
        for place in sorted(messages)
    ]
    return {"messages": sorted(messages), "digest": digest_of_line(canonical(said))}


def asked_facts(ended: Ended) -> dict[str, Any]:
    """What was demanded, and what a conversation asks for beside its messages."""
    facts = ended.demands.facts()
    if (conversation := ended.conversation) is not None:
        date = None if conversation.date is None else conversation.date.isoformat()
        facts |= {"effort": conversation.effort, "thinking": conversation.thinking, "date": date}
    return without_absent({**facts, "schemas_loosened": ended.outcome.loosened or None})


def token_facts(ended: Ended) -> dict[str, Any]:
    usage = ended.usage
    mean = None if ended.mean_logprob is None else round(ended.mean_logprob, 6)
    return {
        "prompt": usage.prompt,
        "reused": usage.reused,
        "reasoning": usage.reasoning,
        "output": usage.output,
        "total": usage.prompt + usage.output,
        "prompt_digest": ids_digest(ended.prompt_ids),
        "output_digest": ids_digest(ended.output_ids),
        **without_absent({"expanded": ended.stopped.expanded_tokens or None, "mean_logprob": mean}),
    }


def ending_facts(ended: Ended) -> dict[str, Any]:
    facts = {
        "reason": ended.reason,
        "stop_string": ended.stop_string,
        "thinking_cut": ended.outcome.thinking_cut or None,
        "calls_without_tags": ended.outcome.untagged or None,
    }
    return without_absent(facts)


def expert_facts(stopped: Stopped) -> dict[str, Any] | None:
    """What was read of experts on disk; None where all weights were in memory."""
    use = stopped.experts
    return None if use is None else {"read_bytes": use.read_bytes, "hit_rate": round(use.hit_rate, 4)}


def second_facts(stopped: Stopped, thought: float | None) -> dict[str, Any]:
    facts = {
        "queued": round(stopped.seconds_queued, 6),
        "prefill": round(stopped.seconds_prefill, 6),
        "decode": round(stopped.seconds_decode, 6),
        "thinking": None if thought is None else round(thought, 6),
    }
    return without_absent(facts)


def identity_facts(identity: Identity, facts: EngineFacts) -> dict[str, Any]:
    """The parts `model` and `engine`: which model answers, and everything that changes its numbers."""
    numbers = facts.identity
    if (other := facts.other) is not None:
        return facts_of_another(identity, facts, other)
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


def facts_of_another(identity: Identity, facts: EngineFacts, other: OtherEngine) -> dict[str, Any]:
    """Where an engine computes that is none of ours: what it says of itself, and no digest that nobody has seen."""
    model = {
        "name": identity.model,
        "weights_named": other.weights,
        "weights_version": other.weights_version,
        "tokenizer_digest": identity.tokenizer_digest,
        "format": identity.format,
        "template_digest": identity.template_digest,
        "end_ids": list(identity.end_ids) or None,
    }
    engine = {
        "name": other.name,
        "version": facts.version,
        "identity_digest": facts.identity.digest,
        "parallel": other.parallel,
        "variant": facts.identity.variant,
        "replay": "not promised",
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


def sent_by_message(
    conversation: Conversation,
    rendered: Rendered,
    restored: Collection[int] = (),
    left_out: Mapping[int, tuple[str, int]] | None = None,
) -> list[dict[str, Any]]:
    """For every message, in order: its role, its tokens in the prompt, and its tokens that were refused.

    `left_out` are messages that were given and not sent: place among all -> role and tokens. Where thoughts were put
    back (`restored`, places in `conversation`) it says so; their tokens are among those sent. So it does where thoughts
    were there and the format writes none of them. Tokens the format adds of its own (headers, a default system prompt)
    belong to no message.
    """
    sent = [0] * len(conversation.messages)
    thought: set[int | None] = set()
    for span in rendered.spans:
        if span.message is not None:
            sent[span.message] += span.stop - span.start
        if span.channel == "analysis":
            thought.add(span.message)
    entries: list[dict[str, Any]] = [
        {"role": message.role, "sent": tokens, "refused": 0}
        | ({"reasoning_restored": True} if n in restored and n in thought else {})
        | ({"reasoning_dropped": True} if message.reasoning and n not in thought else {})
        for n, (message, tokens) in enumerate(zip(conversation.messages, sent, strict=True))
    ]
    for place, (role, tokens) in sorted((left_out or {}).items()):
        entries.insert(place, {"role": role, "sent": 0, "refused": tokens})
    return entries


def without_absent(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
