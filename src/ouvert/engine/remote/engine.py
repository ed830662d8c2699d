"""A model that another program computes, behind the engine's interface: what is asked goes to it with token ids."""

import base64
import hashlib
import hmac
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ouvert.engine.asked import NoAdapters, asked_elsewhere, check_top, checked_starts, prompt_ids, refuse_variant
from ouvert.engine.interface import EngineError, EngineFacts, Load, Sampling, Token
from ouvert.engine.mailbox import closed
from ouvert.engine.remote.endpoint import Ask
from ouvert.engine.remote.generation import Line, Order, RemoteGeneration, Writing
from ouvert.engine.remote.scoring import SCORING_WITHIN, score_side_by_side, scores_of
from ouvert.engine.remote.source import TokenSource
from ouvert.engine.variant import BASE, Variant


class Salts:
    """What keeps the prompts of one owner apart from another's in caches elsewhere. A new one is never found there."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._renewed: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, owner: str) -> str:
        """The same for an owner until it is renewed; nobody can guess it."""
        with self._lock:
            text = f"{self._renewed.get(owner, 0)} {owner}".encode()
            return base64.urlsafe_b64encode(hmac.digest(self._secret, text, hashlib.sha256)).decode().rstrip("=")

    def renew(self, owner: str) -> None:
        with self._lock:
            self._renewed[owner] = self._renewed.get(owner, 0) + 1

    def renew_all(self) -> None:
        with self._lock:
            self._secret = secrets.token_bytes(32)


class Tally:
    """What was asked of the other program from here, counted. Safe from any thread."""

    def __init__(self) -> None:
        self._running = self._prompt_tokens = self._output_tokens = 0
        self._lock = threading.Lock()

    def begin(self, prompt_tokens: int) -> None:
        with self._lock:
            self._running += 1
            self._prompt_tokens += prompt_tokens

    def wrote(self) -> None:
        with self._lock:
            self._output_tokens += 1

    def end(self) -> None:
        with self._lock:
            self._running -= 1

    def load(self) -> Load:
        """Caches and steps are the other program's, which counts them itself."""
        with self._lock:
            return Load(
                running=self._running,
                waiting=0,
                cache_bytes=0,
                cache_limit=0,
                kept_bytes=0,
                steps=0,
                prompt_tokens=self._prompt_tokens,
                reused_tokens=0,
                output_tokens=self._output_tokens,
            )


class RemoteEngine:
    """`interface.Engine` over a source of tokens. Safe from any thread; has no thread of its own.

    Its methods and properties mean what those of `Engine` mean, and raise what those raise; everything that asks
    raises EngineUnreachableError where nobody answers.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        context: int,
        vocabulary_size: int,
        facts: Callable[[str | None], EngineFacts],
    ) -> None:
        """`context` and `vocabulary_size` are those of the model over there. `facts` is called when they are asked for,
        with the version of its weights that it named last."""
        self.source = source
        self.weights_version: str | None = None
        self._context, self._vocabulary_size, self._facts = context, vocabulary_size, facts
        self._salts, self._tally = Salts(), Tally()
        self._lines: weakref.WeakSet[Line] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def context(self) -> int:
        return self._context

    @property
    def vocabulary_size(self) -> int:
        return self._vocabulary_size

    @property
    def embedding_size(self) -> int | None:
        return None

    @property
    def adapters(self) -> NoAdapters:
        return NoAdapters()

    @property
    def facts(self) -> EngineFacts:
        return self._facts(self.weights_version)

    @property
    def failure(self) -> str | None:
        """A connection that is lost ends the answers that came over it, and no others: nothing here has failed."""
        return None

    @property
    def load(self) -> Load:
        return self._tally.load()

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
    ) -> RemoteGeneration:
        """The other program computes from now on, read or not, as far as the connection holds what it writes."""
        self._refuse_if_closed()
        refuse_variant(variant)
        size = self._vocabulary_size
        prompt, beginning = asked_elsewhere(
            ids, written, sampling, timeout, context=self._context, vocabulary_size=size
        )
        self._refuse_penalties_in_pieces(sampling)
        room = self._context - len(prompt)
        order = Order(
            prompt=prompt,
            written=beginning,
            sampling=sampling,
            seed=secrets.randbits(32) if sampling.seed is None else int(sampling.seed),
            most_tokens=room if sampling.max_tokens is None else min(room, sampling.max_tokens),
            vocabulary_size=size,
            deadline=None if timeout is None else time.monotonic() + timeout,
            salt=self._salts.of(owner),
        )
        line = Line(self._tally.end)
        with self._lock:
            self._lines.add(line)
        self._tally.begin(len(prompt))
        try:
            return RemoteGeneration(Writing(self.source, order, line, self._noted), order, line)
        except BaseException:
            line.cancel()
            raise

    @property
    def shown(self) -> Mapping[str, int]:
        return {}

    def check_weights(self) -> str | None:
        """Nobody here has them."""
        return None

    def logits(self, ids: Sequence[int], variant: Variant = BASE, *, start: int = 0) -> np.ndarray:
        raise EngineError(
            "reading logits: another program computes this model, and it gives log-probabilities of tokens alone. Use "
            "`score`, or load the model into this process."
        )

    def score(self, ids: Sequence[int], top: int = 0, variant: Variant = BASE) -> list[Token]:
        return self.score_all([ids], top, variant)[0]

    def score_all(
        self,
        texts: Sequence[Sequence[int]],
        top: int = 0,
        variant: Variant = BASE,
        *,
        starts: Sequence[int] | None = None,
        owner: str = "",
    ) -> list[list[Token]]:
        """The other program reads each text whole and writes one token more, so that one place of its context is taken.
        Several are sent at once; it decides what of their beginnings it computes again."""
        self._refuse_if_closed()
        refuse_variant(variant)
        size, salt = self._vocabulary_size, self._salts.of(owner)
        given = [prompt_ids(ids, context=self._context, vocabulary_size=size, room=1) for ids in texts]
        check_top(top, size)
        params = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": top, "detokenize": False}

        def ask(ids: Sequence[int]) -> list[Token]:
            answer = self.source.whole(Ask(ids=ids, params=params, salt=salt), SCORING_WITHIN)
            return scores_of(answer, ids, top)

        return score_side_by_side(given, checked_starts(given, starts), ask)

    def embed(self, texts: Sequence[Sequence[int]], variant: Variant = BASE) -> np.ndarray:
        raise EngineError(
            "making embeddings: another program computes this model, and it writes text. Load a model made for "
            "embeddings, such as Qwen3-Embedding, into this process."
        )

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str = "") -> str | None:
        """What the other program keeps of this owner's prompts, of all of them, is never found again; it makes room
        for others when that is needed."""
        self._salts.renew(owner)
        return None

    def give_way(self, between: Callable[[], None] | None) -> None:
        """The other program gives way as it likes."""

    def forget_all(self) -> None:
        self._salts.renew_all()

    def close(self) -> None:
        """End what was asked from here. The other program goes on."""
        with self._lock:
            self._closed = True
            lines = list(self._lines)
        for line in lines:
            line.engine_closed = True
            line.cancel()

    def _noted(self, token: Token | None, weights_version: str | None) -> None:
        if token is not None:
            self._tally.wrote()
        if weights_version is not None:
            self.weights_version = weights_version

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise closed()

    def _refuse_penalties_in_pieces(self, sampling: Sampling) -> None:
        penalised = sampling.presence_penalty or sampling.frequency_penalty
        if penalised and sampling.constraint is not None and not self.source.counts_prompts:
            raise EngineError(
                f"sampling: presence_penalty={sampling.presence_penalty}, frequency_penalty="
                f"{sampling.frequency_penalty} and an answer that is held to a form, expected one of them: the engine "
                "that computes counts only what it writes in one request, and such an answer takes several. Leave the "
                "penalties out, or use repetition_penalty."
            )
