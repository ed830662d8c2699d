"""Conversations as values, and the formats that turn them into tokens and back. May import tokenization.

`Language` is what a model's files say of how it reads and writes; `format_for` chooses its format. The formats
themselves are in `ouvert.chat.template` and `ouvert.chat.harmony`, which are imported when they are needed.
"""

from ouvert.chat.choice import builtin_template, format_for
from ouvert.chat.conversation import (
    NO_ARGUMENTS,
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
from ouvert.chat.format import Abilities, ChatError, ChatFormat, Parser, Rendered, Span, WrittenAnswer
from ouvert.chat.language import Language
from ouvert.chat.outline import ANSWER_END, ANSWER_START, Calls, LaterHeaders, Outline, Segment
from ouvert.chat.renderer_command import renderer_command
from ouvert.chat.results import in_the_order_of_calls
from ouvert.chat.tool_syntax import WrittenCall
from ouvert.chat.untagged_calls import UntaggedCalls

__all__ = [
    "ANSWER_END",
    "ANSWER_START",
    "NO_ARGUMENTS",
    "Abilities",
    "Calls",
    "ChatError",
    "ChatFormat",
    "Conversation",
    "Delta",
    "Effort",
    "Language",
    "LaterHeaders",
    "Message",
    "Outline",
    "Parser",
    "ReasoningDelta",
    "Rendered",
    "Role",
    "Segment",
    "Span",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "UntaggedCalls",
    "WrittenAnswer",
    "WrittenCall",
    "builtin_template",
    "format_for",
    "in_the_order_of_calls",
    "renderer_command",
]
