"""Conversation in, typed events out, a receipt at the end. May import engine, store, chat, tokenization and safety."""

from ouvert.assistant.adapters import ModelAdapters
from ouvert.assistant.answer import Answer
from ouvert.assistant.assistant import Assistant
from ouvert.assistant.cited import Cited, Consult, Consulted
from ouvert.assistant.constraint_source import constraint_from
from ouvert.assistant.continuation import Continuation, ContinuedText, PlacedToken
from ouvert.assistant.demands import ANY_TEXT, AnswerForm, Demands, as_demands
from ouvert.assistant.description import Description, Size, describe, is_toy, size_of
from ouvert.assistant.edits import Edit, variant_of
from ouvert.assistant.embeddings import Embeddings
from ouvert.assistant.error import AssistantError, ContextExceeded
from ouvert.assistant.events import Event, Finished, Usage
from ouvert.assistant.forgetting import Forgotten
from ouvert.assistant.likelihood import MOST_CANDIDATES, Best, Likelihood, Written
from ouvert.assistant.load_elsewhere import Elsewhere, Meant
from ouvert.assistant.load_installed import kept_prefixes, open_installed, pack_installed, packed_of, precision_of
from ouvert.assistant.load_model import load
from ouvert.assistant.load_vllm import vllm
from ouvert.assistant.meaning import EffortError, Note
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.model import Model
from ouvert.assistant.model_info import ModelInfo
from ouvert.assistant.obtainable import Obtainable, measured_disk, measured_machine, obtainable
from ouvert.assistant.receipts.comparison import Change, Verified, check_readable
from ouvert.assistant.receipts.contents import read_contents
from ouvert.assistant.receipts.ledger import Checked, Entry, Ledger, LedgerError, receipt_digest
from ouvert.assistant.receipts.reopening import reopened
from ouvert.assistant.receipts.replay import Replayed, ReplayInput, conversation_as_asked
from ouvert.assistant.request import EFFORTS, ChatRequest, TextRequest, Thinking
from ouvert.assistant.sampling import sampling_asked
from ouvert.assistant.scores import ScoredText, ScoredToken
from ouvert.assistant.scoring import ReadText, ScoredChoice
from ouvert.assistant.sizes import (
    USUAL_CONTEXT,
    Sizes,
    bytes_in_memory,
    demand_of_alias,
    form_of,
    memory_by_context,
    packed_bytes_foreseen,
    sizes_of,
)
from ouvert.assistant.stops import StopStrings
from ouvert.assistant.transcript import Transcript, transcript_of
from ouvert.assistant.watching import PROBE, Probe, Watched, WatchedExperts
from ouvert.chat import Message, ReasoningDelta, TextDelta, Tool, ToolCall, ToolCallDelta
from ouvert.engine import (
    BASE,
    PRECISIONS,
    Address,
    AnsweredLines,
    AskedPrecision,
    Connection,
    EngineBusyError,
    EngineError,
    EngineFailedError,
    EngineFaultError,
    EngineTimeouts,
    EngineUnreachableError,
    Generation,
    Grammar,
    Machine,
    PageFiles,
    Precision,
    PrecisionLimit,
    Reading,
    Sampling,
    Stopped,
    Token,
    Variant,
    lines_until,
    memory_bytes,
    server_sent_events,
)
from ouvert.tokenization import TokenizerError

__all__ = [
    "ANY_TEXT",
    "BASE",
    "EFFORTS",
    "MOST_CANDIDATES",
    "PRECISIONS",
    "PROBE",
    "USUAL_CONTEXT",
    "Address",
    "Answer",
    "AnswerForm",
    "AnsweredLines",
    "AskedPrecision",
    "Assistant",
    "AssistantError",
    "Best",
    "Change",
    "ChatRequest",
    "Checked",
    "Cited",
    "Connection",
    "Consult",
    "Consulted",
    "ContextExceeded",
    "Continuation",
    "ContinuedText",
    "Demands",
    "Description",
    "Edit",
    "EffortError",
    "Elsewhere",
    "Embeddings",
    "EngineBusyError",
    "EngineError",
    "EngineFailedError",
    "EngineFaultError",
    "EngineTimeouts",
    "EngineUnreachableError",
    "Entry",
    "Event",
    "Finished",
    "Forgotten",
    "Generation",
    "Grammar",
    "Ledger",
    "LedgerError",
    "Likelihood",
    "Machine",
    "Meant",
    "Message",
    "Model",
    "ModelAdapters",
    "ModelInfo",
    "Note",
    "Obtainable",
    "PageFiles",
    "PlacedToken",
    "Precision",
    "PrecisionLimit",
    "Probe",
    "ReadText",
    "Reading",
    "ReasoningDelta",
    "ReplayInput",
    "Replayed",
    "Sampling",
    "ScoredChoice",
    "ScoredText",
    "ScoredToken",
    "Size",
    "Sizes",
    "StopStrings",
    "Stopped",
    "TextDelta",
    "TextRequest",
    "Thinking",
    "Token",
    "TokenizerError",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Transcript",
    "Usage",
    "Variant",
    "Verified",
    "Watched",
    "WatchedExperts",
    "Written",
    "as_conversation",
    "as_demands",
    "bytes_in_memory",
    "check_readable",
    "constraint_from",
    "conversation_as_asked",
    "demand_of_alias",
    "describe",
    "form_of",
    "is_toy",
    "kept_prefixes",
    "lines_until",
    "load",
    "measured_disk",
    "measured_machine",
    "memory_by_context",
    "memory_bytes",
    "obtainable",
    "open_installed",
    "pack_installed",
    "packed_bytes_foreseen",
    "packed_of",
    "precision_of",
    "read_contents",
    "receipt_digest",
    "reopened",
    "sampling_asked",
    "server_sent_events",
    "size_of",
    "sizes_of",
    "transcript_of",
    "variant_of",
    "vllm",
]
