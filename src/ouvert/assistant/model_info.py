"""What a loaded model is, in facts."""

from dataclasses import dataclass
from pathlib import Path

from ouvert.engine import MemoryPlan, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a loaded model is. `context` is the most tokens a conversation may have here, answer included."""

    name: str
    path: Path
    source: str
    family: str
    parameters: int
    bytes: int
    context: int
    trained_context: int
    vocabulary_size: int
    threads: int
    instruction_set: str
    cache_type: str
    memory_plan: MemoryPlan | None  # where experts are read from disk
    embedding_size: int | None  # of an embedding model, which writes no text
    sampling: Sampling  # what is used where a call does not say otherwise
    adapters: tuple[str, ...] = ()  # with which it answers where a call names none
