"""Conversation in, typed events out. May import engine, store, chat and tokenization."""

from ouvert.assistant.assistant import Answer, Assistant
from ouvert.assistant.demands import Demands
from ouvert.assistant.error import AssistantError
from ouvert.assistant.events import Event, Finished, Usage
from ouvert.assistant.model import Model, ModelInfo, load
from ouvert.assistant.opening import open_installed, pack_installed
from ouvert.assistant.stops import StopStrings
from ouvert.chat import Message, ReasoningDelta, TextDelta, Tool, ToolCall, ToolCallDelta
from ouvert.engine import Grammar, Sampling

__all__ = [
    "Answer",
    "Assistant",
    "AssistantError",
    "Demands",
    "Event",
    "Finished",
    "Grammar",
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
]
