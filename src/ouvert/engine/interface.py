"""The engine's interface: token ids in, token ids out. It knows no text, no tools, no HTTP.

Implementations: ours (`ouvert.engine.local`), a remote one later, and a scripted one in tests.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from ouvert.engine.identity import NumericIdentity
from ouvert.engine.variant import BASE, Variant
from ouvert.packed import Adapter, Damage


class ConstraintState(Protocol):
    """One answer under a constraint, as far as it has come.

    Its properties raise nothing.
    """

    def allowed(self) -> np.ndarray | None:
        """The ids that may come next, ascending; None where any may.

        Raises EngineError if the constraint cannot be followed further.
        """

    def advance(self, token: int) -> None:
        """`token` was written. It is one of those allowed. Raises EngineError if it is not."""

    @property
    def accepting(self) -> bool:
        """Whether the answer may end here: a token of `Sampling.stop_ids` may then come as well."""

    @property
    def finished(self) -> bool:
        """Whether nothing may follow: the answer ends here by itself."""


class Constraint(Protocol):
    """What answers may be. Compiled once; every answer follows it from the beginning."""

    def begin(self) -> ConstraintState:
        """The state of one answer, at its beginning. Raises nothing."""

    @property
    def source(self) -> Mapping[str, Any]:
        """The constraint as JSON, from which an engine elsewhere makes the same one: {"grammar": {"kind", "text",
        "strict"}} or {"outline": {...}}, as docs/formats/engine-http.md has them. Raises nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is told of each token of an answer while it is written; the answer has the same bits with and without.

    `confidence`: how sure the model was, `Token.confidence`. `names`: values that the engine shows (`Engine.shown`,
    docs/formats/taps.md), `Token.seen`.
    """

    confidence: bool = False
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen. The defaults change nothing: plain sampling from the model's distribution.

    `temperature` 0 is greedy (the lowest id wins a tie). `top_k` 0, `top_p` 1 and `min_p` 0 keep everything.
    Penalties look at the prompt and the answer alike. `logprobs` asks for the log-probability of each token
    and of so many likeliest ones, before temperature and penalties. `stop_ids` end the answer and are
    themselves reported as the last token. An answer that goes in circles for `repetition_guard` tokens, and at least
    three times round, ends; 0: it never does for that. No token outside `constraint` is ever chosen; reported
    log-probabilities are those of the model all the same. `watch` says what else is told of each token.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    max_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()
    repetition_guard: int = 0
    logprobs: int | None = None
    constraint: Constraint | None = None
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the model was of a token, at temperature 1 and before any setting, in nats: its log-probability, its
    rank (1 is the likeliest), the entropy over all tokens, and the likeliest few, best first (id, log-probability)."""

    logprob: float
    rank: int
    entropy: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A token the model chose. `logprob` and `top` (id, log-probability; likeliest first) only if asked for.

    `confidence` and `seen` only if watched. `seen` has the watched values by name, (width,) each, at the place before
    the token: where it was chosen.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    confidence: Confidence | None = None
    seen: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertUse:
    """Experts on disk: bytes read, and of how many uses (an expert in a step) how many found it in memory."""

    read_bytes: int = 0
    lookups: float = 0.0
    hits: float = 0.0

    @property
    def hit_rate(self) -> float:
        """0 to 1; 1 where nothing was looked up. Raises nothing."""
        return self.hits / self.lookups if self.lookups else 1.0


# Why a generation ends.
Reason = Literal["stop", "length", "repetition", "cancelled", "timeout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why a generation ended, and what it cost. Seconds are wall-clock.

    `joules`: what the processors used in the steps of this answer, its share of each by the tokens computed; whatever
    else ran on the machine is in it. None where the machine does not say. `variant`: the one that wrote the answer.
    `expanded_tokens`: how many of the prompt, from the first on, were computed in the expanded form (latent attention:
    docs/decisions/0012).
    `parts`: who wrote what of it, in order, where that was a pool; none where one engine wrote it.
    `experts`: what was read of experts on disk, its share in the same way; None where all weights are in memory.
    """

    reason: Reason
    prompt_tokens: int
    reused_tokens: int
    output_tokens: int
    seed: int
    seconds_queued: float
    seconds_prefill: float
    seconds_decode: float
    joules: float | None = None
    variant: Variant = BASE
    expanded_tokens: int = 0
    parts: tuple["Part", ...] = ()
    experts: ExpertUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a prompt has been read: `done` of its `total` tokens, of which `reused` came from a cache.

    `seconds` have passed since reading began; time in the queue is not among them.
    """

    done: int
    total: int
    reused: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None while nothing was computed yet. Raises nothing."""
        computed = self.done - self.reused
        return self.seconds * (self.total - self.done) / computed if computed > 0 else None


class Generation(Protocol):
    """One answer being written. Iterate for tokens; afterwards `stopped` says why it ended."""

    def __iter__(self) -> Iterator[Token]:
        """The tokens as they come. Raises EngineError if the answer cannot go on: logits that are not finite, damaged
        weights, an engine that failed or was closed."""

    def reading(self) -> Iterator[Reading]:
        """How far the prompt has been read: when reading begins, then after each step; ends when a token is there.

        Iterate it before the tokens, or not at all. A reader who comes late misses some, never a token.

        Raises nothing.
        """

    def cancel(self) -> None:
        """End the answer before its next token and free what it holds. Safe from any thread. Raises nothing."""

    @property
    def stopped(self) -> Stopped:
        """Raises RuntimeError while tokens are still to come."""


class EngineError(Exception):
    """A request the engine cannot serve. The message has the numbers and what to do."""


class EngineBusyError(EngineError):
    """Too many requests wait already. The same request may be served in a while."""


class EngineFaultError(EngineError):
    """A fault of this program, not of the request, ended one answer; others go on."""

    @classmethod
    def of(cls, operation: str, problem: BaseException) -> "EngineError":
        """`problem` in a sentence; one that is an EngineError already stays what it is. Raises nothing."""
        if isinstance(problem, EngineError):
            return problem
        fault = cls(
            f"{operation}: {type(problem).__name__}: {problem!s:.300}. This is a fault of the program, and ended this "
            "answer alone. Ask again; if it comes again, the log has what to report."
        )
        fault.__cause__ = problem
        return fault


class EngineFailedError(EngineError):
    """The engine itself failed and computes nothing more. The same request may be served once it is loaded again."""


class EngineUnreachableError(EngineError):
    """The program that computes is another one, and it is not there, or was lost. The same request may be served when
    it is there again."""


class WeightsDamagedError(EngineFailedError):
    """The weights that were computing are not what they were made as. The message names file, place and remedy."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"computing: the weights are damaged: {damage.what}. Answers may be wrong, so they end here. "
            f"{damage.remedy}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLoad:
    """A member of a pool as it is now. `answers` were begun there, `running` of them are being written, `lost` went on
    elsewhere or not at all. `identity`: the digest of what it computes, "" if it was never there; `why` it is out."""

    name: str
    is_in: bool
    running: int
    answers: int
    lost: int
    identity: str
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy an engine is now, and what it has done since it was opened.

    `cache_bytes` are those of all caches, of which kept prefixes are `kept_bytes`. `prompt_tokens` were given, of which
    `reused_tokens` came from a cache. `members`: of a pool, in the order in which they were named. `experts`: what was
    read of experts on disk; None where all weights are in memory.
    """

    running: int
    waiting: int
    cache_bytes: int
    cache_limit: int
    kept_bytes: int
    steps: int
    prompt_tokens: int
    reused_tokens: int
    output_tokens: int
    members: tuple[MemberLoad, ...] = ()
    experts: ExpertUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEngine:
    """An engine that is not of this program, as it names itself. The same request may get another answer from it.

    `weights`: what it was started with, in its own words, which nobody here can check; `weights_version`, if they were
    exchanged since. `parallel`: how it is divided, as its owner says.
    """

    name: str
    weights: str
    weights_version: str | None = None
    parallel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an answer came from, for receipts: digests are "sha256:<hex>".

    What changes its numbers is its `identity`; the rest says where and how fast. `packed_digest` is of the packed
    weights. `weights_checked`: since this start, the weights that compute were compared with their digests, and their
    file has not changed since it was opened. An engine's facts are of its base: `of_variant` has those of a variant.
    `other`: the engine that computes, where it is none of ours; `version` is that one's, `threads` are 0, and the
    identity holds what is known.

    Its methods and properties raise nothing.
    """

    version: str
    instruction_set: str
    threads: int
    identity: NumericIdentity
    packed_digest: str | None = None
    weights_checked: bool = False
    other: OtherEngine | None = None

    def of_variant(self, variant: Variant) -> "EngineFacts":
        """The facts of this variant's answers."""
        return replace(self, identity=self.identity.of_variant(variant.digest))

    @property
    def weights_digest(self) -> str:
        """ "sha256:<hex>" of the weights as they were fetched."""
        return self.identity.weights

    @property
    def cache_type(self) -> str:
        """How keys and values are kept: "f16", "f32" or "q8"."""
        return self.identity.cache

    @property
    def exact(self) -> bool:
        """Activations stay float32, instead of being rounded to 8 bits before products."""
        return self.identity.exact

    @property
    def build(self) -> str | None:
        """The digest of this program's files that decide an answer: two builds of one version may differ."""
        return self.identity.build


@dataclass(frozen=True, slots=True)
class Part:
    """What a member of a pool wrote of an answer: from its token `start` on, counted from 0. `facts` are that
    member's."""

    member: str
    start: int
    facts: EngineFacts


class EngineAdapters(Protocol):
    """The adapters that an engine has, for variants that name them by digest. From any thread."""

    @property
    def digests(self) -> frozenset[str]:
        """Of those that it has. Raises nothing."""

    @property
    def nbytes(self) -> int:
        """Of memory that they take, and those that were removed while somebody still computes with them. They are
        counted with the caches (`Limits`). Raises nothing."""

    def add(self, adapter: Adapter) -> str:
        """Have this one; may be called twice. Its digest, for `ScaledAdapter`. Raises EngineError, by name, for an
        addition to a weight that the model does not have, or one of another shape, for numbers that are not finite, and
        where this engine computes none."""

    def remove(self, digest: str) -> None:
        """Have it no more. Requests that were accepted before keep it to their end. May be called twice. Raises
        nothing."""


class Engine(Protocol):
    """What every engine offers. Where nothing else is said, its properties raise nothing."""

    @property
    def adapters(self) -> EngineAdapters:
        """Those that it has. Every variant with others is refused."""

    @property
    def context(self) -> int:
        """Most tokens a sequence may have, prompt and answer together."""

    @property
    def vocabulary_size(self) -> int:
        """One more than the highest token id."""

    @property
    def facts(self) -> EngineFacts:
        """What answers of the base come from. The first time it may wait for the digest of the weights, and raise
        EngineError if a file of theirs can no longer be read."""

    @property
    def failure(self) -> str | None:
        """What ended this engine, if it failed; it then has to be closed, and opened again."""

    @property
    def load(self) -> Load:
        """How busy it is now."""

    @property
    def shown(self) -> Mapping[str, int]:
        """The values that `Sampling.watch` may name, and how many numbers a token has of each. None where another
        program computes."""

    def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        variant: Variant = BASE,
        *,
        written: Sequence[int] = (),
        first_turn: int = 0,
        timeout: float | None = None,
        owner: str = "",
    ) -> Generation:
        """`variant`: the adapters and edits that the answer is computed with. `timeout`: seconds after which the answer
        ends as it is. `owner`: whose prompt it is. What one owner's prompts left in caches is never used for another's,
        in memory or on disk: neither the time an answer takes nor its `reused_tokens` says anything of them. Nor is
        what one variant left ever used for another.

        `written`: the ids with which the answer began elsewhere. It goes on behind them, with the draws, counts, limits
        and constraint of that place: with the tokens that it would have had undisturbed. `Stopped` counts those written
        before, too; none of them comes again.

        `first_turn`: how many tokens the prompt begins with before anything that the model said. An engine may compute
        so many in a form that is quicker for prompts (`Stopped.expanded_tokens`): the same numbers for the same value,
        others in their last bits for another. One that has no such form computes as without.

        Raises EngineError at once if the prompt cannot fit (both numbers in the message), for a variant that this
        engine does not compute and for a beginning that is none of this request, and EngineBusyError where too many
        wait already.
        """

    def check_weights(self) -> str | None:
        """What is wrong with the weights that compute, once all of them were compared with their digests; None if
        nothing is, or if no digest of theirs is known here. Raises nothing."""

    def logits(self, ids: Sequence[int], variant: Variant = BASE, *, start: int = 0) -> np.ndarray:
        """float32 (tokens, vocabulary): row i scores what comes after ids[: i + 1]; only the rows from `start` on.

        Raises EngineError as `generate` does, and for a start behind the text.
        """

    def score(self, ids: Sequence[int], top: int = 0, variant: Variant = BASE) -> list[Token]:
        """For every token but the first: its log-probability given those before it, and the `top` likeliest. Raises
        EngineError as `generate` does."""

    def score_all(
        self,
        texts: Sequence[Sequence[int]],
        top: int = 0,
        variant: Variant = BASE,
        *,
        starts: Sequence[int] | None = None,
        owner: str = "",
    ) -> list[list[Token]]:
        """What `score` gives of each text, from its token starts[n] on (1 where no starts are given): the same numbers,
        many texts in a step. What texts begin with in common is computed once, and what is kept of this owner's prompts
        is used. Of what stands before a start, something may be kept in memory, never on disk. Answers go first.

        Raises EngineError as `generate` does, of any of the texts, and for a start below 1.
        """

    @property
    def embedding_size(self) -> int | None:
        """Numbers of a text's vector; None of a model that writes text."""

    def embed(self, texts: Sequence[Sequence[int]], variant: Variant = BASE) -> np.ndarray:
        """float32 (texts, embedding_size), each of length 1. Raises EngineError of a model that writes text, and as
        `generate` does.

        A model that makes embeddings writes none: `generate`, `logits` and `score` raise EngineError.
        """

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str = "") -> str | None:
        """Remove what is kept of this owner's sequences for which `holds(ids)` is true, in memory and on disk, and of
        every variant. Beginnings that other sequences share stay. Answers that are being written go on, and leave
        nothing behind.

        Returns what the names of this owner's pages of the base on disk start from, or None if none are kept on disk.
        Raises EngineError for what cannot be removed.
        """

    def give_way(self, between: Callable[[], None] | None) -> None:
        """From now on, wait between two steps as long as `between` does; None: for nobody. Raises nothing."""

    def forget_all(self) -> None:
        """Let go of what is kept in memory, of every owner. Answers that are being written leave nothing behind. Raises
        nothing."""

    def close(self) -> None:
        """Free model and caches. Answers still being written end with EngineError. May be called twice. Raises
        nothing."""
