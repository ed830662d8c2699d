"""Conversation in, typed events out, a receipt at the end. May import engine, store, chat, tokenization and safety."""

from ouvert.assistant.assistant import Answer, Assistant
from ouvert.assistant.demands import Demands
from ouvert.assistant.error import AssistantError
from ouvert.assistant.events import Event, Finished, Usage
from ouvert.assistant.ledger import Checked, Entry, Ledger, LedgerError, receipt_digest
from ouvert.assistant.model import Model, ModelInfo, load
from ouvert.assistant.opening import open_installed, pack_installed
from ouvert.assistant.stops import StopStrings
from ouvert.chat import Message, ReasoningDelta, TextDelta, Tool, ToolCall, ToolCallDelta
from ouvert.engine import Grammar, Sampling

__all__ = [
    "Answer",
    "Assistant",
    "AssistantError",
    "Checked",
    "Demands",
    "Entry",
    "Event",
    "Finished",
    "Grammar",
    "Ledger",
    "LedgerError",
    "Message",
    "Model",
    "ModelInfo",
    "ReasoningDelta",
    "Sampling",
    "StopStrings",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "load",
    "open_installed",
    "pack_installed",
    "receipt_digest",
]
