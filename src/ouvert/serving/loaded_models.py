"""Models in memory: loaded when they are first asked for, let go when idle, exchanged when memory asks for it."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ouvert.assistant import AssistantError, Model, load
from ouvert.chat import ChatError, Effort
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.store import Installed, Progress, Store, bytes_in_words, find_alias

LOG = logging.getLogger("ouvert.serving")

State = Literal["on_disk", "loading", "loaded", "failed"]
LATEST = ":latest"
RETRY_SECONDS = 5  # advice to a client that asks for a model being loaded
FORGIVEN = 600.0  # seconds after which a failure of a model is no longer counted
LONGEST_PAUSE = 60.0  # seconds between a model's failure and its next loading, however often it failed


@dataclass(frozen=True, slots=True)
class Named:
    """What a client's name for a model stands for: one that is here, and the effort that the name asks for."""

    installed: Installed
    effort: Effort | None = None


class Catalog:
    """The models this server offers, by the names clients use. Paths are no names here: only the owner gives paths."""

    def __init__(self, store: Store, named: tuple[str, ...], *, only_named: bool) -> None:
        """`named` are names or paths; raises StoreError for one that is not here."""
        self._store = store
        self._named = {model.name: model for model in map(store.resolve, named)}
        self._only_named = only_named

    @property
    def first(self) -> tuple[Installed, ...]:
        return tuple(self._named.values())

    def every(self) -> tuple[Installed, ...]:
        """All that are offered: those named first."""
        if self._only_named:
            return self.first
        return (*self.first, *(model for model in self._store.list() if model.name not in self._named))

    def find(self, name: str, admits: Callable[[str], bool] = lambda own_name: True) -> Named:
        """Also with `:latest`, and with an effort behind the name. Raises Refusal 404.

        A model that `admits` says no to is, and is spoken of, as if it were not here."""
        for known, effort in spellings(name):
            if (installed := self._exactly(known)) is not None and admits(installed.name):
                return Named(installed, effort)
        offered = (
            ", ".join(model.name for model in self.every() if admits(model.name))
            or "none yet: `ouvert pull smollm2` brings one"
        )
        alias = find_alias(name)
        fetch = f" `ouvert pull {alias.name}` fetches it." if alias is not None and not self._only_named else ""
        raise Refusal(
            404,
            f"There is no model {name!r:.200} here.{fetch} This server offers: {offered}.",
            code="model_not_found",
            param="model",
        )

    def _exactly(self, name: str) -> Installed | None:
        alias = find_alias(name)
        names = (name,) if alias is None else (name, alias.name)
        for each in names:
            if each in self._named:
                return self._named[each]
        if not self._only_named:
            stored = self._store.names()
            for each in names:
                if each in stored:
                    return self._store.resolve(each)
        return None


def spellings(name: str) -> Iterator[tuple[str, Effort | None]]:
    """(name of a model, effort) that a client's name may mean, the plainest first."""
    plain = name.removesuffix(LATEST)
    yield name, None
    if plain != name:
        yield plain, None
    base, _, last = plain.rpartition(":")
    if base and last in get_args(Effort):
        yield base, last  # type: ignore[misc]
        yield base.removesuffix(LATEST), last  # type: ignore[misc]


@dataclass
class Resident:
    """A model that is in memory, or on its way there."""

    installed: Installed
    bytes: int
    state: State = "loading"
    model: Model | None = None
    uses: int = 0
    last_used: float = field(default_factory=time.monotonic)
    keep: float | None = None  # seconds it stays when idle; None: for good
    loaded: "asyncio.Future[Model] | None" = None
    progress: float | None = None
    recovers: bool = False  # its engine failed; it is loaded again, by itself


class Lease:
    """The use of a model; it stays in memory until `give_back`, which may be called twice."""

    def __init__(self, resident: Resident, model: Model, effort: Effort | None, name: str, owner: str) -> None:
        """`name` is what the client called it, `owner` whose prompts it is for: see `Engine.generate`."""
        self.model, self.effort, self.name, self.owner = model, effort, name, owner
        self._resident: Resident | None = resident
        resident.uses += 1

    def give_back(self, keep: float | None = math.nan) -> None:
        """`keep`: how long it stays from now on, if the client said so."""
        if self._resident is not None:
            self._resident.uses -= 1
            self._resident.last_used = time.monotonic()
            if keep is None or not math.isnan(keep):
                self._resident.keep = keep
            self._resident = None


class LoadedModels:
    """All models in memory. Belongs to one event loop; models are loaded and closed in a thread, one at a time."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        *,
        keep: float | None,
        memory: int | None,
        load_wait: float,
        load_options: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self.catalog = catalog
        self._store, self._keep, self._memory, self._load_wait = store, keep, memory, load_wait
        self._options, self._progress = load_options, progress
        self._here: dict[str, Resident] = {}
        self._turn = asyncio.Lock()  # held while a model is loaded or let go
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ouvert-load")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: dict[str, list[float]] = {}  # when the model of that name failed, of late
        self.loads = 0

    def state_of(self, name: str) -> tuple[State, float | None]:
        """Of a model by its own name, and how far it has been loaded, 0 to 1, if that is known."""
        resident = self._here.get(name)
        return ("on_disk", None) if resident is None else (resident.state, resident.progress)

    def states(self) -> dict[str, State]:
        return {name: resident.state for name, resident in self._here.items()}

    def model_of(self, name: str) -> Model | None:
        """The model of that own name, if it is in memory."""
        resident = self._here.get(name)
        return None if resident is None else resident.model

    def efforts_of(self, model: Model) -> tuple[Effort, ...]:
        """None where it has no chat format."""
        try:
            return model.chat_format.abilities.efforts
        except (AssistantError, ChatError):
            return ()

    def recovering(self, admits: Callable[[str], bool] = lambda own_name: True) -> int:
        """How many models failed and are not there again yet, of those that `admits` says yes to."""
        return sum(
            has_failed(each) or (each.recovers and each.model is None)
            for name, each in self._here.items()
            if admits(name)
        )

    def models(self) -> tuple[Model, ...]:
        """Those in memory. From any thread."""
        return tuple(each.model for each in tuple(self._here.values()) if each.model is not None)

    @property
    def changing(self) -> bool:
        """Whether a model is being loaded or let go."""
        return self._turn.locked()

    async def settled(self) -> None:
        """Until what is being loaded or let go now is."""
        async with self._turn:
            return

    def loaded(self) -> tuple[Resident, ...]:
        return tuple(resident for resident in self._here.values() if resident.state == "loaded")

    def expires_in(self, resident: Resident) -> float | None:
        """Seconds until an idle model is let go; None: it stays."""
        keep = resident.keep
        return None if keep is None else max(0.0, keep - (time.monotonic() - resident.last_used))

    async def lend(self, name: str, owner: str = "", admits: Callable[[str], bool] = lambda own_name: True) -> Lease:
        """The model, in memory. Raises Refusal: 404 where there is none that `admits` says yes to, 503 while it is
        loaded for too long, and at once where its engine failed and it is loaded again."""
        named = self.catalog.find(name, admits)
        model_name = named.installed.name
        resident = self._here.get(model_name)
        if resident is not None and has_failed(resident):
            resident = self._recover(resident)
        if resident is None or (resident.state == "failed" and not resident.recovers):
            resident = self._begin(named.installed)
        if resident.recovers and resident.model is None:
            raise Refusal(
                503,
                f"{model_name} failed, and is being loaded again. Ask again in a few seconds; the server's log says "
                "why it failed.",
                code="model_recovering",
                retry_after=RETRY_SECONDS,
            )
        if resident.model is not None:
            return Lease(resident, resident.model, named.effort, name, owner)
        assert resident.loaded is not None  # noqa: S101 - set by `_begin`, and gone only when the model is there
        resident.uses += 1  # from now on, or it could be let go of between its loading and this one's turn
        try:
            async with asyncio.timeout(self._load_wait):
                model = await asyncio.shield(resident.loaded)
            return Lease(resident, model, named.effort, name, owner)
        except TimeoutError:
            raise Refusal(
                503,
                f"{model_name} is being loaded. Ask again in a few seconds.",
                code="model_loading",
                retry_after=RETRY_SECONDS,
            ) from None
        finally:
            resident.uses -= 1

    async def release(self, name: str) -> None:
        """Let go of a model as soon as it is idle."""
        resident = self._here.get(self.catalog.find(name).installed.name)
        if resident is not None:
            resident.keep = 0.0
            await self.let_go_of_idle()

    async def let_go_of_idle(self) -> None:
        """Close the models that nobody used for as long as they are kept."""
        for resident in list(self._here.values()):
            idle = resident.state == "loaded" and not resident.uses
            if idle and resident.keep is not None and time.monotonic() - resident.last_used >= resident.keep:
                await self._close(resident)

    async def watch(self) -> None:
        """`let_go_of_idle` and `recover`, every now and then, for ever."""
        while True:
            await asyncio.sleep(1.0 if self._keep is None else min(1.0, max(self._keep / 4, 0.05)))
            self.recover()
            await self.let_go_of_idle()

    def recover(self) -> None:
        """Load again what failed since it was loaded, or could not be loaded again."""
        for resident in tuple(self._here.values()):
            if has_failed(resident) or (resident.recovers and resident.state == "failed"):
                self._recover(resident)

    def _recover(self, failed: Resident) -> Resident:
        """Another in its place: at once where it failed for the first time, then after longer and longer pauses."""
        name, now = failed.installed.name, time.monotonic()
        cause = "it could not be loaded" if failed.model is None else failed.model.engine.failure
        recent = [each for each in self._failures.get(name, []) if now - each < FORGIVEN]
        pause = min(LONGEST_PAUSE, 2.0 ** len(recent) - 1)
        self._failures[name] = [*recent, now]
        LOG.error("%s failed (%s); it is loaded again in %g s.", name, cause, pause)
        return self._begin(failed.installed, failed, pause)

    async def close(self) -> None:
        """Close all. Answers still being written end."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for resident in list(self._here.values()):
            await self._close(resident)
        self._thread.shutdown(wait=True)

    def _begin(self, installed: Installed, failed: Resident | None = None, pause: float = 0.0) -> Resident:
        """`failed` is what it takes the place of, after `pause` seconds."""
        resident = Resident(installed, installed.size, keep=self._keep)
        if failed is not None:
            resident.keep, resident.recovers = failed.keep, True
        resident.loaded = asyncio.get_running_loop().create_future()
        self._here[installed.name] = resident
        task = asyncio.get_running_loop().create_task(self._load(resident, failed, pause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return resident

    async def _load(self, resident: Resident, failed: Resident | None, pause: float) -> None:
        assert resident.loaded is not None  # noqa: S101 - `_begin` has just made it
        resident.loaded.add_done_callback(lambda future: future.cancelled() or future.exception())  # may go unasked
        try:
            await asyncio.sleep(pause)
            async with self._turn:
                if failed is not None and failed.model is not None:
                    model, failed.model = failed.model, None
                    await asyncio.get_running_loop().run_in_executor(self._thread, model.close)
                await self._make_room(resident)
                watched = Watched(self._progress, resident)
                installed = resident.installed
                name = installed.name if installed.digest is not None else installed.path
                model = await asyncio.get_running_loop().run_in_executor(
                    self._thread, lambda: ready(load(name, store=self._store, progress=watched, **self._options))
                )
        except Exception as problem:  # handed to everybody who waits for the model
            resident.state = "failed"
            refusal = refusal_of(problem)
            if refusal is None:
                LOG.exception("loading %s", resident.installed.name)
                sentence = f"Loading {resident.installed.name}: {problem}"
                refusal = Refusal(500, sentence, code="model_unusable", param="model")
            resident.loaded.set_exception(refusal)
            return
        resident.model, resident.state, resident.progress = model, "loaded", None
        resident.last_used = time.monotonic()
        self.loads += 1
        resident.loaded.set_result(model)

    async def _make_room(self, wanted: Resident) -> None:
        """Let go of the models that were used longest ago until this one fits. The caller holds the turn."""
        if self._memory is None:
            return
        if wanted.bytes > self._memory:
            raise Refusal(
                507,
                f"{wanted.installed.name} takes {bytes_in_words(wanted.bytes)}, and this server may use "
                f"{bytes_in_words(self._memory)}. Serve a smaller model, or allow more with --memory.",
                code="model_too_large",
                param="model",
            )
        waited_since = time.monotonic()
        while sum(each.bytes for each in self._here.values() if each.state == "loaded") + wanted.bytes > self._memory:
            idle = [each for each in self.loaded() if not each.uses]
            if idle:
                oldest = min(idle, key=lambda each: each.last_used)
                await self._close(oldest, holds_turn=True)
            elif time.monotonic() - waited_since > self._load_wait:
                raise Refusal(
                    503,
                    f"There is no room for {wanted.installed.name} while other models are answering. Try again soon.",
                    code="overloaded",
                    retry_after=RETRY_SECONDS,
                )
            else:
                await asyncio.sleep(0.05)

    async def _close(self, resident: Resident, *, holds_turn: bool = False) -> None:
        """This one, and not one that has taken its place meanwhile."""
        if self._here.get(resident.installed.name) is resident:
            del self._here[resident.installed.name]
        if resident.model is None:
            return
        model, resident.model = resident.model, None
        close = asyncio.get_running_loop().run_in_executor(self._thread, model.close)
        if holds_turn:
            await close
        else:
            async with self._turn:
                await close


def has_failed(resident: Resident) -> bool:
    """Whether its engine failed since it was loaded."""
    return resident.model is not None and resident.model.engine.failure is not None


def ready(model: Model) -> Model:
    """Make now what several threads would otherwise make at once when they first need it."""
    model.info, model.engine.facts  # noqa: B018 - properties that are computed once
    with suppress(AssistantError, ChatError):  # a file without text still computes; who asks for text is told
        model.assistant  # noqa: B018
    return model


class Watched:
    """A progress that also tells the resident how far it is."""

    def __init__(self, progress: Progress, resident: Resident) -> None:
        self._progress, self._resident = progress, resident
        self._total: int | None = None
        self._done = 0

    def say(self, text: str) -> None:
        self._progress.say(text)

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        self._total, self._done = total, done
        self._progress.begin(label, total, done)

    def advance(self, count: int) -> None:
        self._done += count
        if self._total:
            self._resident.progress = min(1.0, self._done / self._total)
        self._progress.advance(count)

    def end(self) -> None:
        self._progress.end()
