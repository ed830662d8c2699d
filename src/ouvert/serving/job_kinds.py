"""What a kind of job is, and what it is given to do a job. Whoever starts a server registers its kinds."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.applications import Starlette

from ouvert.serving.answers import Answers
from ouvert.serving.service import Service
from ouvert.store import Job, OpenJob

LOOK_SECONDS = 0.05  # between looks at whether somebody still waits for an answer


class Places:
    """How many items of jobs are answered at once, of all jobs together. Belongs to one event loop.

    While nobody waits for an answer there are `most`. While somebody does, an item begins only where no other is being
    answered; those that were begun go on.
    """

    def __init__(self, answers: Answers, most: int) -> None:
        self._answers, self._most = answers, most
        self._taken = 0
        self._turn = asyncio.Lock()  # jobs that wait for a place get one by turns

    async def take(self) -> None:
        """Returns when there is a place; `give_back` is called once for it."""
        async with self._turn:
            while self._taken >= (1 if self._answers.somebody_waits else self._most):
                await asyncio.sleep(LOOK_SECONDS)
            self._taken += 1

    def give_back(self) -> None:
        """Raises nothing."""
        self._taken -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job that is to be done now, in the event loop of a server. `told` is called with it when its items are counted,
    and after each result is recorded; from threads, one at a time. `app` is what its requests are asked of."""

    job: OpenJob
    service: Service
    app: Starlette
    places: Places
    told: Callable[[Job], None] = lambda job: None


class JobKind(Protocol):
    """Whoever does one kind of job."""

    @property
    def name(self) -> str:
        """`Job.kind`. Raises nothing."""

    async def run(self, work: Work) -> Job:
        """Do what is left of the job and record how it ended; the job as it then is.

        Cancelled, it leaves the job as it is, to be taken up again. Raises OSError where the disk takes no more: the
        job is then taken up again later.
        """
