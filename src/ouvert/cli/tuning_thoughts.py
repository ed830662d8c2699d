"""What a reasoning model itself thinks before answers whose thoughts the data leaves out: asked once, before a run."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ouvert.assistant import Model
    from ouvert.chat import Conversation
    from ouvert.tuning import Think

AT_ONCE = 8  # answers side by side: the engine batches them, and each has the bits that it would have alone
MOST = 1024  # tokens of a thought


def thoughts_by(
    model: "Model", *, seed: int, length: int, progress: Callable[[int, int], None] | None = None
) -> "Think":
    """Asks `model` as its makers advise to sample it, with seeds that follow from `seed` and the place of each
    conversation. A thought takes half of `length` at most; it is then ended as a budget ends it, and kept so far.

    `progress(done, all)` is called as they come. What is made raises what `Model.answer` raises.
    """
    budget = min(MOST, length // 2)

    def think(conversations: Sequence["Conversation"]) -> list[str]:
        done = 0

        def one(place: int) -> str:
            return thought_before(model, conversations[place], seed_of(seed, place), budget)

        found: list[str] = []
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ouvert-thinking") as pool:
            for thought in pool.map(one, range(len(conversations))):
                found.append(thought)
                done += 1
                if progress is not None:
                    progress(done, len(conversations))
        return found

    return think


def thought_before(model: "Model", conversation: "Conversation", seed: int, budget: int) -> str:
    """What the model thinks before it answers, "" where it does not. Its answer is not waited for."""
    from ouvert.assistant import ChatRequest, Demands
    from ouvert.chat import ReasoningDelta, TextDelta, ToolCallDelta

    request = ChatRequest(
        conversation=conversation,
        demands=Demands(think_budget=budget),
        sampling={"seed": seed, "max_tokens": 2 * budget + 64},
    )
    pieces: list[str] = []
    answer = model.answer(request)
    for event in answer:
        if isinstance(event, ReasoningDelta):
            pieces.append(event.text)
        elif isinstance(event, TextDelta | ToolCallDelta):
            answer.cancel()
            break
    for _ in answer:  # to its end, so that nothing of it is still computed
        pass
    return "".join(pieces).strip()


def seed_of(seed: int, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"thought {seed} {place}".encode()).digest()[:8], "little")
