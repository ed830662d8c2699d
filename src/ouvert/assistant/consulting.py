"""A question with sources before it, as the model reads it."""

from dataclasses import replace

from ouvert.assistant.cited import Citer
from ouvert.assistant.error import AssistantError
from ouvert.assistant.request import ChatRequest
from ouvert.engine import Grammar


def with_sources(request: ChatRequest, context: int) -> tuple[ChatRequest, Citer | None]:
    """The request with sources before its question, and what reads the answer's citations; None where nothing is to be
    consulted. Where nothing was found, and the answer is free, it is what says so.

    Raises AssistantError where the last message is no question, or log-probabilities are asked for; what `consult`
    raises."""
    if request.consult is None:
        return request, None
    *before, last = request.conversation.messages
    if last.role != "user":
        raise AssistantError(
            f"answering from documents: the last message is of the role {last.role}, expected a question of the user. "
            "Leave the documents out where a tool's result is answered."
        )
    if request.sampling.get("logprobs") is not None:
        raise AssistantError(
            "answering from documents: logprobs were asked for, and marks of citations are no tokens. Leave one out."
        )
    found = request.consult(last.content, context)
    messages = (*before, replace(last, content=found.prompt))
    demands = request.demands
    if not found.found and demands.answer is None and not request.conversation.tools:
        demands = replace(demands, answer=Grammar.one_of((found.absent,)))
    conversation = replace(request.conversation, messages=messages)
    owner = request.owner + found.apart
    return replace(request, conversation=conversation, demands=demands, owner=owner, consult=None), found.citing()
