"""Ouvert runs open-weight reasoning models entirely on this machine and shows what they do.

    import ouvert

    with ouvert.load("smollm2") as model:
        for event in model.chat("What is 2+2?"):
            ...

Everything public is listed here and imported when it is first used, so that `import ouvert` costs nothing.
docs/guides/python.md is the guide.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.assistant import (
        Answer,
        AssistantError,
        ChatRequest,
        ContinuedText,
        Demands,
        Edit,
        Event,
        Finished,
        Ledger,
        LedgerError,
        ModelInfo,
        Probe,
        ReadText,
        ReasoningDelta,
        Replayed,
        ScoredChoice,
        ScoredText,
        TextDelta,
        TextRequest,
        Thinking,
        ToolCallDelta,
        Usage,
        Verified,
        Watched,
        as_conversation,
        vllm,
    )
    from ouvert.chat import ChatError, Message, Tool, ToolCall
    from ouvert.engine import EngineError, EngineUnreachableError, Grammar, PageFiles, Reading, Sampling, Token
    from ouvert.evaluation import Compared, EvaluationError, compare
    from ouvert.inspection import Direction, InspectionError, LogitDifference, LogProbability, TextLogProbability, Trace
    from ouvert.model import Model, adapters, load
    from ouvert.safety import guard
    from ouvert.serving import BatchOutcome, batch
    from ouvert.store import AdapterRecord, Job, JobError, StoreError
    from ouvert.tokenization import TokenizerError
    from ouvert.tuned import tune
    from ouvert.tuning import TuningError
    from ouvert.weights import CheckpointError

    __version__: str

# Public name -> the part, or the file beside them, it comes from.
PUBLIC = {
    "AdapterRecord": "store",
    "Answer": "assistant",
    "AssistantError": "assistant",
    "BatchOutcome": "serving",
    "ChatError": "chat",
    "ChatRequest": "assistant",
    "CheckpointError": "weights",
    "Compared": "evaluation",
    "ContinuedText": "assistant",
    "Demands": "assistant",
    "Direction": "inspection",
    "Edit": "assistant",
    "EngineError": "engine",
    "EngineUnreachableError": "engine",
    "EvaluationError": "evaluation",
    "Event": "assistant",
    "Finished": "assistant",
    "Grammar": "engine",
    "InspectionError": "inspection",
    "Job": "store",
    "JobError": "store",
    "Ledger": "assistant",
    "LedgerError": "assistant",
    "LogProbability": "inspection",
    "LogitDifference": "inspection",
    "Message": "chat",
    "Model": "model",
    "ModelInfo": "assistant",
    "PageFiles": "engine",
    "Probe": "assistant",
    "ReadText": "assistant",
    "Reading": "engine",
    "ReasoningDelta": "assistant",
    "Replayed": "assistant",
    "Sampling": "engine",
    "ScoredChoice": "assistant",
    "ScoredText": "assistant",
    "StoreError": "store",
    "TextDelta": "assistant",
    "TextLogProbability": "inspection",
    "TextRequest": "assistant",
    "Thinking": "assistant",
    "Token": "engine",
    "TokenizerError": "tokenization",
    "Tool": "chat",
    "ToolCall": "chat",
    "ToolCallDelta": "assistant",
    "Trace": "inspection",
    "TuningError": "tuning",
    "Usage": "assistant",
    "Verified": "assistant",
    "Watched": "assistant",
    "adapters": "model",
    "as_conversation": "assistant",
    "batch": "serving",
    "compare": "evaluation",
    "guard": "safety",
    "load": "model",
    "tune": "tuned",
    "vllm": "assistant",
}

__all__ = [
    "AdapterRecord",
    "Answer",
    "AssistantError",
    "BatchOutcome",
    "ChatError",
    "ChatRequest",
    "CheckpointError",
    "Compared",
    "ContinuedText",
    "Demands",
    "Direction",
    "Edit",
    "EngineError",
    "EngineUnreachableError",
    "EvaluationError",
    "Event",
    "Finished",
    "Grammar",
    "InspectionError",
    "Job",
    "JobError",
    "Ledger",
    "LedgerError",
    "LogProbability",
    "LogitDifference",
    "Message",
    "Model",
    "ModelInfo",
    "PageFiles",
    "Probe",
    "ReadText",
    "Reading",
    "ReasoningDelta",
    "Replayed",
    "Sampling",
    "ScoredChoice",
    "ScoredText",
    "StoreError",
    "TextDelta",
    "TextLogProbability",
    "TextRequest",
    "Thinking",
    "Token",
    "TokenizerError",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Trace",
    "TuningError",
    "Usage",
    "Verified",
    "Watched",
    "adapters",
    "as_conversation",
    "batch",
    "compare",
    "guard",
    "load",
    "tune",
    "vllm",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("ouvert")
    elif name in PUBLIC:
        value = getattr(import_module(f"ouvert.{PUBLIC[name]}"), name)
    else:
        raise AttributeError(f"module 'ouvert' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
