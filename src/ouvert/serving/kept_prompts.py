"""What is kept of prompts, so that no beginning is read twice, and how it is forgotten when its owner says so."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from ouvert.assistant import EngineError
from ouvert.serving.errors import Refusal
from ouvert.serving.loaded_models import LoadedModels
from ouvert.serving.sentences import sentence_of

LOG = logging.getLogger("ouvert.serving")

CLEARED_SECONDS = 0.5  # between two looks at whether kept pages were cleared


class PagesOnDisk(Protocol):
    """What `assistant.kept_prefixes` gives."""

    @property
    def cleared(self) -> float | None:
        """When all were last removed, by whatever process, in seconds since 1970; None for never."""

    def forget_owners(self, are_meant: Callable[[str], bool]) -> int:
        """Remove the pages of owners that are meant; how many."""

    def keep_only(self, owner: str, bases: Collection[str]) -> None:
        """Remove this owner's pages but those of the models whose base starts from one of `bases`."""


class KeptPrompts:
    """The kept prompts of all models of a server, in memory and on disk. Belongs to one event loop."""

    def __init__(self, prefixes: PagesOnDisk | None, models: LoadedModels) -> None:
        """`prefixes`: those on disk, one value for all models, so that they are found also where no model is in
        memory; None where nothing is kept on disk."""
        self._prefixes, self._models = prefixes, models
        self._tasks: set[asyncio.Task[None]] = set()

    async def forget(self, texts: Sequence[str] | None, owner: str, asker: str) -> None:
        """Remove what is kept of the owner's prompts, and of the thoughts in their answers, where one of `texts` stands
        in it; all of it if that is None. Of models that are not in memory all pages go: only a model can read its
        tokens. `asker`: whose the thoughts are. Raises Refusal for what cannot be removed.
        """
        changing = self._models.changing
        await asyncio.to_thread(self._forget, texts, owner, asker)
        if changing:  # a model that was on its way out has written what it still had to write
            task = asyncio.create_task(self._forget_when_settled(texts, owner, asker))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def forget_owners(self, are_meant: Callable[[str], bool]) -> int | None:
        """Remove the pages of owners that are meant, and let go of everything in memory; how many pages, None where
        none are kept on disk. Raises Refusal for what cannot be removed."""
        await self._models.settled()
        try:
            pages = None if self._prefixes is None else await asyncio.to_thread(self._prefixes.forget_owners, are_meant)
        except EngineError as problem:
            raise Refusal(
                500, f"It is deleted, but: {sentence_of(problem)}", code="kept_prefixes_not_removed"
            ) from problem
        await asyncio.to_thread(self._forget_all)
        return pages

    async def _forget_when_settled(self, texts: Sequence[str] | None, owner: str, asker: str) -> None:
        await self._models.settled()
        try:
            await asyncio.to_thread(self._forget, texts, owner, asker)
        except Refusal as refusal:
            LOG.error("%s", refusal.message)

    def _forget(self, texts: Sequence[str] | None, owner: str, asker: str) -> None:
        bases = []
        for model in self._models.models():
            try:
                bases.append(model.forget(texts, owner, asker))
            except EngineError as problem:
                LOG.info("%s: what it kept goes as a whole (%s)", model.info.name, problem)  # closed, or broken
        try:
            if self._prefixes is not None:
                self._prefixes.keep_only(owner, [base for base in bases if base is not None])
        except EngineError as problem:
            raise Refusal(
                500, f"It is deleted, but: {sentence_of(problem)}", code="kept_prefixes_not_removed"
            ) from problem

    async def watch_cleared(self) -> None:
        """When all kept pages on disk are removed, by whatever process, let go of those in memory too. For ever."""
        known = None if self._prefixes is None else self._prefixes.cleared
        while self._prefixes is not None:
            await asyncio.sleep(CLEARED_SECONDS)
            if (now := self._prefixes.cleared) != known:
                known = now
                await asyncio.to_thread(self._forget_all)

    def _forget_all(self) -> None:
        for model in self._models.models():
            try:
                model.engine.forget_all()
            except EngineError as problem:
                LOG.info("%s: what it kept in memory goes with it (%s)", model.info.name, problem)

    async def close(self) -> None:
        """Returns when nothing is being forgotten any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
