"""What a request means for a model: its words for thinking, its strict tools, moved to what the model can do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from ouvert.assistant.error import AssistantError
from ouvert.assistant.request import EFFORTS, ChatRequest, Thinking
from ouvert.chat import Abilities, ChatFormat, Conversation, Effort


@dataclass(frozen=True, slots=True)
class Note:
    """Something of a request that is not promised: which of it, and what becomes of it where that needs saying."""

    about: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.detail}" if self.detail else self.about


class EffortError(AssistantError):
    """A word for an effort that is none of EFFORTS."""


def request_for_model(request: ChatRequest, chat: ChatFormat) -> tuple[ChatRequest, list[Note]]:
    """The request in the words of the model that `chat` writes for, and what of it is not promised.

    Of a request that is not lenient nothing is changed but that its conversation says what its `thinking` says.
    Raises EffortError.
    """
    notes: list[Note] = []
    if request.lenient:
        effort, thinking = nearest_thinking(request.thinking, chat.abilities)
        if request.thinking.effort == "none" and chat.abilities.thinks and not chat.abilities.optional:
            notes.append(Note("thinking", "this model always thinks; it was asked to think least"))
        request = with_strictness_that_holds(request, chat, notes)
        request = with_budget_that_holds(request, chat, notes)
    elif request.thinking != Thinking():
        # A word that the format does not know is refused where the prompt is written.
        effort, thinking = cast("Effort | None", request.thinking.effort), request.thinking.enabled
    else:
        effort, thinking = request.conversation.effort, request.conversation.thinking
    conversation = replace(request.conversation, effort=effort, thinking=thinking)
    return replace(request, conversation=without_tools_not_to_call(conversation, request, chat)), notes


def without_tools_not_to_call(conversation: Conversation, request: ChatRequest, chat: ChatFormat) -> Conversation:
    """The conversation without tools, if calls are ruled out and nothing else keeps the model from calling."""
    return replace(conversation, tools=()) if request.demands.calls == "none" and not chat.guides else conversation


def with_strictness_that_holds(request: ChatRequest, chat: ChatFormat, notes: list[Note]) -> ChatRequest:
    """Libraries declare tools as strict of their own accord. Where that holds only for a call that is required, the
    tool is declared all the same."""
    tools = request.conversation.tools
    if chat.guides or request.demands.calls == "required" or not any(tool.strict for tool in tools):
        return request
    notes.append(Note("tools.strict"))
    loose = tuple(replace(tool, strict=False) for tool in tools)
    return replace(request, conversation=replace(request.conversation, tools=loose))


def with_budget_that_holds(request: ChatRequest, chat: ChatFormat, notes: list[Note]) -> ChatRequest:
    """A model that does not think has no thoughts to end."""
    if not request.thinking.enabled or chat.abilities.thinks:
        return request
    notes.append(Note("thinking", "this model does not think before it answers"))
    return replace(request, demands=replace(request.demands, think_budget=None))


def nearest_thinking(asked: Thinking, abilities: Abilities) -> tuple[Effort | None, bool | None]:
    """(effort, thinking) of the model's conversation that come nearest to what was asked. Raises EffortError."""
    if asked.enabled is None and not asked.unasked and abilities.optional:
        return None, False
    if asked.enabled is False and abilities.optional:
        return None, False
    if asked.effort is None:
        can_obey = abilities.optional or asked.enabled == abilities.thinks
        return None, asked.enabled if can_obey else None
    if asked.effort not in EFFORTS:
        raise EffortError(f"The effort is {asked.effort!r:.80}, expected one of {', '.join(EFFORTS)}.")
    if asked.effort == "none" and abilities.optional:
        return None, False
    if not abilities.efforts:
        return None, asked.effort != "minimal" if abilities.optional else None
    return nearest_effort(asked.effort, abilities.efforts), None


def nearest_effort(word: str, efforts: Sequence[Effort]) -> Effort:
    """The effort nearest to `word`; of two that are equally near, the smaller."""
    wanted = EFFORTS.index(word)
    return min(efforts, key=lambda effort: abs(EFFORTS.index(effort) - wanted))
