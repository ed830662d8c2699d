"""A vLLM behind the engine's interface: is it the one that is meant, and what is it?

It is a process of its own, here or on another machine, started with --enable-scale-out (docs/guides/
beyond-one-machine.md). What it computes nobody here can check but by what it says and by how it cuts text into tokens.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ouvert.engine.identity import NumericIdentity
from ouvert.engine.interface import EngineError, EngineFacts, OtherEngine
from ouvert.engine.remote.endpoint import Ask, Served, TokenEndpoint
from ouvert.engine.remote.engine import RemoteEngine
from ouvert.engine.remote.sampling_params import one_of_these

OLDEST = (0, 30)
NOT_STATED = "not stated"
FIRST_WEIGHTS = "default"  # how vLLM calls the version of weights that it was started with

# Words of several languages, digits, white space, signs, characters of four bytes: where two vocabularies cut alike
# here, they are the same or deceive on purpose. No control tokens: those are spelled here, and are ids there.
TEXT = (
    "The quick brown fox jumps over 1234567890 lazy dogs, doesn't it?\n\n\tdef f(x):\n        return x**2  # naïve\n"
    "Où est la bibliothèque ? Ça coûte 12,50 €.   Größe, señor, Привет, 中文分词, 日本語の文章, 🦊🇫🇷 "
    '<tag/> {"a": [1, 2]}'
)

Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vllm:
    """What its owner says of a vLLM: `model`, which of its models is meant, where it has several; `parallel`, how it is
    divided, which it does not say itself: "tensor parallel 2"."""

    endpoint: TokenEndpoint
    model: str | None = None
    parallel: str | None = None

    def open(self, vocabulary_size: int, tokenize: Tokenize) -> RemoteEngine:
        """The engine, once it is found to be what is meant. `tokenize` gives the ids of a text here, nothing added.

        Raises EngineUnreachableError where nobody answers, and EngineError for a server that is no vLLM with the
        endpoint, is older than OLDEST, has not the model, or cuts text into other tokens.
        """
        version = self._version()
        served = self._served()
        endpoint = TokenEndpoint(self.endpoint.connection, served.name)
        self._compare(endpoint, served, tokenize)
        self._try(endpoint, vocabulary_size)
        said = VllmFacts(version=version, served=served, parallel=self.parallel)
        return RemoteEngine(endpoint, context=served.context, vocabulary_size=vocabulary_size, facts=said.of)

    def _version(self) -> str:
        version = self.endpoint.version()
        found = re.match(r"(\d+)\.(\d+)", version)
        if found and tuple(map(int, found.groups())) < OLDEST:
            raise EngineError(
                f"opening vLLM at {self.endpoint}: it is version {version}, expected {OLDEST[0]}.{OLDEST[1]} or newer. "
                "Update it there."
            )
        return version

    def _served(self) -> Served:
        models = self.endpoint.served()
        meant = [each for each in models if self.model is None or each.name == self.model]
        names = ", ".join(each.name for each in models) or "none"
        if len(meant) != 1:
            asked = "none was named" if self.model is None else f"{self.model} was named"
            raise EngineError(
                f"opening vLLM at {self.endpoint}: it serves {names}, and {asked}, expected one that is meant. Name "
                "it: --engine-model NAME."
            )
        return meant[0]

    def _compare(self, endpoint: TokenEndpoint, served: Served, tokenize: Tokenize) -> None:
        """Ids mean the same here and there, or everything is wrong."""
        ours, theirs = list(tokenize(TEXT)), endpoint.tokenize(TEXT)
        if ours == theirs:
            return
        at = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), len(ours))
        raise EngineError(
            f"opening vLLM at {self.endpoint}: {served.name} cuts a text into other tokens than the model named here "
            f"({len(theirs)} and {len(ours)} tokens, the first that differs is number {at}: {theirs[at : at + 3]} "
            f"there, {ours[at : at + 3]} here). Name the same model here and there, with the same tokenizer files."
        )

    def _try(self, endpoint: TokenEndpoint, vocabulary_size: int) -> None:
        """One token: the endpoint is there, takes the key, speaks of tokens and keeps to those that are allowed."""
        wanted = vocabulary_size // 2
        params = {"temperature": 0.0, "ignore_eos": True, "detokenize": False, **one_of_these([wanted])}
        stream = endpoint.generate(Ask(ids=[wanted], params=params))
        written = [token.id for chunk in stream for token in chunk.tokens]
        stream.close()
        if written != [wanted]:
            raise EngineError(
                f"opening vLLM at {self.endpoint}: asked for token {wanted} alone, it wrote {written}. It does not "
                "honour allowed_token_ids, without which no answer can be held to a form: use vLLM 0.32 or newer there."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmFacts:
    """What a vLLM says of itself, and its owner of it, as facts."""

    version: str
    served: Served
    parallel: str | None

    def of(self, weight_version: str | None) -> EngineFacts:
        """The facts while it computes with that version of its weights."""
        version = None if weight_version in (None, FIRST_WEIGHTS) else weight_version
        return EngineFacts(
            version=self.version,
            instruction_set=NOT_STATED,
            threads=0,
            identity=NumericIdentity(
                weights=f"{self.served.root}, {version or 'as it was started'}",
                configuration=NOT_STATED,
                layout=self.parallel or NOT_STATED,
                arithmetic=f"vllm {self.version}",
                build=None,
                exact=False,
                cache=NOT_STATED,
                precision=NOT_STATED,
            ),
            other=OtherEngine(name="vllm", weights=self.served.root, weights_version=version, parallel=self.parallel),
        )
