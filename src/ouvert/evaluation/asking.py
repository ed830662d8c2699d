"""Many questions to one contestant at once: several threads ask, answers come as they are ready."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256

from ouvert.evaluation.contestants.contestant import Contestant, ContestantFacts
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Answered
from ouvert.evaluation.plan import Plan

SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Question:
    """One item, for the nth time."""

    item: Item
    sample: int


def seed_of(plan: Plan, facts: ContestantFacts, question: Question) -> int:
    """What an answer's draws come from: its own question, and the plan's seed. A second contestant that is the same
    model draws otherwise. Raises nothing."""
    parts = (plan.seed, facts.identity.get("copy", 1), question.item.digest, question.sample)
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:8]) % SEEDS


def answers_to(
    contestant: Contestant, plan: Plan, questions: Sequence[Question], parallel: int
) -> Iterator[tuple[Question, Answered]]:
    """Each question with its answer, `parallel` asked at a time, in the order in which they are ready.

    Raises what `Contestant.ask` raises; the others that are on their way are then waited for, and lost. Left before its
    end, as by Ctrl-C, the contestant is closed, so that nobody waits for long answers.
    """
    waiting = list(reversed(questions))
    running: dict[Future[Answered], Question] = {}
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="asking")
    whole = False
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                question = waiting.pop()
                seed = seed_of(plan, contestant.facts, question)
                running[pool.submit(contestant.ask, question.item, question.sample, seed)] = question
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
        whole = True
    finally:
        if not whole:
            contestant.close()
        pool.shutdown(wait=True, cancel_futures=True)
