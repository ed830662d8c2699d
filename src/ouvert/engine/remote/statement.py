"""What an engine of ours on another machine says of itself: docs/formats/engine-http.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.engine.identity import IDENTITY_VERSION, NumericIdentity
from ouvert.engine.interface import EngineError, EngineFacts
from ouvert.engine.remote.connection import Connection, NothingThereError

FORMAT = 1
FACTS = "/inference/v1/facts"

# What a member says has to be of these types: it is compared, hashed and shown.
NONE = type(None)
STATEMENT_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "tokenizer_digest", "version", "instruction_set"), (str,)),
    **dict.fromkeys(("context", "vocabulary_size", "threads"), (int,)),
    "embedding_size": (int, NONE),
    "packed_digest": (str, NONE),
    "weights_checked": (bool,),
    "load": (dict,),
}
IDENTITY_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("weights", "configuration", "layout", "arithmetic", "cache", "precision", "variant"), (str,)),
    "build": (str, NONE),
    "exact": (bool,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatement:
    """What a member says of itself."""

    model: str
    context: int
    vocabulary_size: int
    embedding_size: int | None
    tokenizer_digest: str
    facts: EngineFacts
    load: Mapping[str, Any]  # how busy it was when it said so, in the words of `Load`

    @classmethod
    def of(cls, place: str, answer: Any) -> "MemberStatement":
        """Raises EngineError for what is no such statement, or of another version of this program."""
        try:
            if answer["format"] != FORMAT or answer["identity"]["identity"] != IDENTITY_VERSION:
                raise ValueError(f"format {answer['format']}, identity {answer['identity']['identity']}")
            stated = {name: value for name, value in answer["identity"].items() if name != "identity"}
            require_types(stated, IDENTITY_TYPES)
            require_types(answer, STATEMENT_TYPES)
            if min(answer["context"], answer["vocabulary_size"]) < 1:
                raise ValueError("context or vocabulary_size is below 1")
            return cls(
                model=answer["model"],
                context=answer["context"],
                vocabulary_size=answer["vocabulary_size"],
                embedding_size=answer["embedding_size"],
                tokenizer_digest=answer["tokenizer_digest"],
                load=answer["load"],
                facts=EngineFacts(
                    version=answer["version"],
                    instruction_set=answer["instruction_set"],
                    threads=answer["threads"],
                    identity=NumericIdentity(**stated),
                    packed_digest=answer["packed_digest"],
                    weights_checked=answer["weights_checked"],
                ),
            )
        except (KeyError, TypeError, ValueError) as problem:
            raise EngineError(
                f"asking {place}{FACTS}: the answer is {answer!r:.200} ({problem}), expected the facts of an engine, "
                f"format {FORMAT}. Start `ouvert serve MODEL --engine-only` there, of a version near to this one."
            ) from problem


def statement_of(connection: Connection) -> MemberStatement:
    """What the engine there says of itself. Raises as `MemberEngine` does."""
    place = connection.address
    try:
        return MemberStatement.of(str(place), connection.get(FACTS))
    except NothingThereError as problem:
        raise EngineError(
            f"asking {place}{FACTS}: the server there has no such address, expected an engine of this program. Start "
            "`ouvert serve MODEL --engine-only` there. A vLLM is no member of a pool, because it cannot go on with an "
            f"answer of another token for token: ask it alone, with `ouvert serve MODEL --engine vllm --at {place}`."
        ) from problem


def require_types(stated: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> None:
    """Raises KeyError for what is missing, TypeError for a value of another type; bool is none of int."""
    for name, allowed in types.items():
        if type(stated[name]) not in allowed:
            raise TypeError(f"{name} is {stated[name]!r:.40}")
