"""The adapters of a loaded model: read when they are first asked for, checked, and given to its engine.

What is asked for is a name; what computes, and what everything that is kept is keyed by, is the digest of its numbers.
So a name that goes to another adapter is another adapter from then on, and answers under way stay what they are.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.chat import ChatError, ChatFormat, Language
from ouvert.engine import (
    Adapter,
    Engine,
    EngineError,
    NotFiniteError,
    Opened,
    ScaledAdapter,
    Variant,
    read_peft,
    write_peft,
)
from ouvert.store import (
    PROBE_TOKENS,
    AdapterProbe,
    AdapterRecord,
    Adapters,
    CheckpointError,
    LogProbabilities,
    State,
    StoreError,
    probe_ids,
    state_together,
    write_record,
)


def nothing_beside(_: Path) -> None:
    """What is written beside an adapter that has nothing else."""


class ModelAdapters:
    """Those of one loaded model. May be used from any thread. Making one raises nothing."""

    def __init__(self, kept: Adapters | None, model: str, opened: Opened, language: Language) -> None:
        """`kept`: where they are on this machine; None: there are none. `model` is its name here."""
        self._kept, self._model = kept, model
        self._engine, self._opened, self._language = opened.engine, opened, language
        self._given: dict[str, AdapterRecord] = {}  # to the engine: by digest
        self._lock = threading.Lock()

    def variant(self, names: Sequence[str]) -> Variant:
        """The variant of the model with these adapters, ready to be computed.

        Raises StoreError for a name that is none, and for an adapter of other weights, of another tokenizer or format,
        damaged, or that does not compute as it did; EngineError where nothing here computes adapters.
        """
        if not names:
            return Variant()
        weights = self._engine.facts.weights_digest
        records = self._require_kept(names).made_for(self._model, weights, names)
        for record in records:
            self._give(record)
        return Variant(tuple(ScaledAdapter(record.digest) for record in records))

    def ready(self, variant: Variant) -> None:
        """Make sure that the engine has what a variant names by digest, as receipts do. Raises StoreError where no
        adapter on this machine has that digest, and as `variant` does."""
        for each in variant.adapters:
            if each.digest in self._given:
                continue
            record = self._here(each.digest)
            if record is None:
                raise StoreError(
                    f"computing with the adapter {each.digest}: no adapter on this machine has these numbers "
                    f"(there are: {self._listed()}). Import it again; if a name has gone to another since, that one "
                    "gives other answers."
                )
            self.variant([record.name])

    def records(self, variant: Variant) -> list[AdapterRecord | str]:
        """What is known now of a variant's adapters; of one that has never been on this machine, its digest. Raises
        nothing."""
        found: list[AdapterRecord | str] = []
        for each in variant.adapters:
            found.append(self._here(each.digest) or self._given.get(each.digest) or each.digest)
        return found

    def _here(self, digest: str) -> AdapterRecord | None:
        """What is on this machine with these numbers, by the name that it had before or another."""
        if self._kept is None:
            return None
        if (given := self._given.get(digest)) is not None:
            with suppress(StoreError):
                if (record := self._kept.record(given.name)).digest == digest:
                    return record
        return self._kept.with_digest(digest)

    def read(self, variant: Variant) -> list[tuple[Adapter, float]]:
        """The numbers of a variant's adapters, read from this machine once more, and the scale of each. Raises
        StoreError for one that is not here any more, or damaged."""
        found = []
        for each in variant.adapters:
            record = self._here(each.digest)
            if record is None:
                raise StoreError(
                    f"looking into {self._model}: the adapter {each.digest} is not on this machine any more, expected "
                    "it here. Import it again."
                )
            found.append((self._numbers_of(record), each.scale))
        return found

    def facts(self, variant: Variant) -> list[dict[str, Any]]:
        """As they stand in a receipt: name, digest and state of each; a scale where it is not 1. Raises nothing."""
        facts = []
        for each, record in zip(variant.adapters, self.records(variant), strict=True):
            known = {} if isinstance(record, str) else {"name": record.name, "state": record.state}
            scale = {} if each.scale == 1 else {"scale": each.scale}
            facts.append({**known, "digest": each.digest, **scale})
        return facts

    def state(self, variant: Variant) -> State | None:
        """Of all of a variant's adapters together; None where it has none. Raises nothing."""
        if not variant.adapters:
            return None
        known = [each for each in self.records(variant) if not isinstance(each, str)]
        return "unchecked" if len(known) < len(variant.adapters) else state_together([each.state for each in known])

    def now(self, adapters: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
        """Of the adapters that a receipt names, by the digest of each, what is on this machine now: the same numbers
        under any name; else the digest of what has its name now; else None. Raises nothing."""
        found: dict[str, str | None] = {}
        for each in adapters:
            digest = str(each.get("digest"))
            here = self._here(digest)
            if here is None and self._kept is not None:
                with suppress(StoreError):
                    here = self._kept.record(str(each.get("name")))
            found[digest] = None if here is None else here.digest
        return found

    @property
    def base(self) -> dict[str, Any]:
        """What the record of an adapter for this model says of it: `base` in docs/formats/adapter.md. Raises ChatError
        and TokenizerError where its tokenizer cannot be read, EngineError if a file of its weights cannot."""
        tokenizer = self._language.tokenizer
        try:
            chat: ChatFormat | None = self._language.chat_format
        except ChatError:
            chat = None
        return {
            "name": self._model,
            "family": self._opened.family,
            "weights": self._engine.facts.weights_digest,
            "tokenizer": tokenizer.digest,
            "format": None if chat is None else chat.digest,
            "stop_ids": sorted(tokenizer.end_ids if chat is None else chat.stop_ids),
        }

    @property
    def numbers(self) -> dict[str, Any]:
        """With which a probe is promised bit for bit: all that decides numbers, but for weights and variant. Raises
        what `Engine.facts` raises."""
        facts = self._engine.facts.identity.facts()
        return {name: value for name, value in facts.items() if name not in ("weights", "variant")}

    def probe(self, digest: str) -> AdapterProbe:
        """A probe, for its record, of an adapter that the engine has. Raises StoreError for one that changes nothing,
        or with which the model computes no numbers; what `base` and `Engine.score` raise."""
        ids = probe_ids(self._language.tokenizer.encode)
        try:
            best = self._engine.score([*ids, ids[-1]], PROBE_TOKENS, Variant((ScaledAdapter(digest),)))[-1].top
        except NotFiniteError as problem:
            raise StoreError(
                "trying the adapter: with it the model's logits are NaN or infinite, expected numbers. What it adds is "
                "too large: is its alpha right, and was it trained to its end? Take another version of it."
            ) from problem
        of = log_probabilities(self._engine, digest)
        return AdapterProbe.made(ids, [token for token, _ in best], of, self.numbers)

    def keep(
        self,
        name: str,
        adapter: Adapter,
        source: Mapping[str, Any],
        *,
        beside: Callable[[Path], None] = nothing_beside,
        replace: bool = False,
    ) -> AdapterRecord:
        """Keep an adapter of this model on this machine: its numbers, and a record with a probe of them. It is
        unchecked, unless the same numbers are here already: what is known of those is known of it.

        `source`: where it comes from, as docs/formats/adapter.md says; `beside(folder)` writes what else belongs to it.
        Raises StoreError for an adapter that changes nothing, and for a name that is none or is taken; AdapterError for
        one that does not fit the model; EngineError where nothing here computes adapters; what `base` and `beside`
        raise, and OSError if the disk takes no more.
        """
        kept, model = self._require_kept([name]), self._require_weights(name)
        digest, base = self._engine.adapters.add(adapter), self.base
        facts: dict[str, Any] = {
            "adapter": 1,
            "digest": digest,
            "state": "unchecked",
            "check": None,
            "base": base,
            "source": dict(source),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "ouvert": self._engine.facts.version,
            "probe": self.probe(digest).facts(),
        }
        for known in kept.same_as(AdapterRecord(name, kept.folder / name, facts))[:1]:
            facts |= {"state": known.state, "check": known.facts.get("check")}

        def write(folder: Path) -> None:
            write_peft(adapter, folder, model, self._model)
            beside(folder)
            write_record(folder, facts)

        kept.put(name, write, replace=replace)
        record = kept.record(name)
        with self._lock:
            self._given[digest] = record
        return record

    def let_go(self) -> None:
        """Take from the engine those that are on this machine no more; answers under way keep theirs. Raises
        nothing."""
        if self._kept is None or not self._given:
            return
        with self._lock:
            here = {each.digest for each in self._kept.readable()}
            for digest in [each for each in self._given if each not in here]:
                self._engine.adapters.remove(digest)
                del self._given[digest]

    def _give(self, record: AdapterRecord) -> None:
        """Read, check and hand over, once."""
        if record.digest in self._given:
            return
        with self._lock:
            if record.digest in self._given:
                return
            self._require_weights(record.name)
            require_base(record, self.base, self._model)
            probe = AdapterProbe.read(record.facts.get("probe"))
            self._engine.adapters.add(self._numbers_of(record))
            try:
                probe.check(record.name, log_probabilities(self._engine, record.digest), self.numbers)
            except BaseException:
                self._engine.adapters.remove(record.digest)
                raise
            self._given[record.digest] = record

    def _numbers_of(self, record: AdapterRecord) -> Adapter:
        """Raises StoreError for files that are damaged, or not what the record says."""
        model = self._require_weights(record.name)
        try:
            adapter = read_peft(record.path, model)
        except (CheckpointError, OSError) as problem:
            raise StoreError(
                f"loading the adapter {record.name}: {problem} Nothing else is affected; "
                f"`ouvert adapter remove {record.name}`, then make or import it again."
            ) from problem
        if adapter.digest != record.digest:
            raise StoreError(
                f"loading the adapter {record.name}: its numbers have the digest {adapter.digest}, and its record says "
                f"{record.digest}: they were changed since it was made. Make or import it again."
            )
        return adapter

    def _require_kept(self, names: Sequence[str]) -> Adapters:
        if self._kept is None:
            raise AssistantError(
                f"asking {self._model} with the adapters {', '.join(names):.200}: it was loaded without a store, "
                "expected one. Load it with `ouvert.load`."
            )
        return self._kept

    def _require_weights(self, name: str) -> Any:
        if self._opened.model is None:
            raise EngineError(
                f"loading the adapter {name}: another program computes {self._model}, expected weights in this "
                "process. Load it here, or ask that program for its own adapters."
            )
        return self._opened.model

    def _listed(self) -> str:
        known = () if self._kept is None else self._kept.readable()
        return ", ".join(f"{each.name} {each.digest}" for each in known) or "none"


def require_base(record: AdapterRecord, now: Mapping[str, Any], model: str) -> None:
    """Raises StoreError, with both, for an adapter that was made for another tokenizer, chat format or end of
    answers."""
    for name, what in (("tokenizer", "tokenizer"), ("format", "chat format"), ("stop_ids", "ends of an answer")):
        if (stated := record.base.get(name)) not in (None, now[name]):
            raise StoreError(
                f"loading the adapter {record.name}: it was made with the {what} {stated}, and {model} has {now[name]} "
                "now: what it learnt would not be what it reads. Load the model as it was then (without "
                "--template, if that was chosen now), or make the adapter again."
            )


def log_probabilities(engine: Engine, digest: str) -> LogProbabilities:
    """As a probe asks for them."""

    def of(sequences: Sequence[Sequence[int]], starts: Sequence[int], scale: float) -> list[list[float]]:
        variant = Variant((ScaledAdapter(digest, scale),)) if scale else Variant()
        try:
            scored = engine.score_all(sequences, variant=variant, starts=starts)
        except NotFiniteError:
            if scale <= 1:
                raise
            return [[math.nan] * (len(ids) - start) for ids, start in zip(sequences, starts, strict=True)]
        return [[float(token.logprob or 0.0) for token in tokens] for tokens in scored]

    return of
