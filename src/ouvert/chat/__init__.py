"""Conversations as values, and the formats that turn them into tokens and back. May import tokenization."""

from ouvert.chat.conversation import (
    Conversation,
    Delta,
    Effort,
    Message,
    ReasoningDelta,
    Role,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)

__all__ = [
    "Conversation",
    "Delta",
    "Effort",
    "Message",
    "ReasoningDelta",
    "Role",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
]
