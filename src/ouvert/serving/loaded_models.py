"""Models in memory: loaded when they are first asked for, let go when idle, exchanged when memory asks for it."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from ouvert.assistant import AssistantError, ChatRequest, Model, bytes_in_memory, load, size_of
from ouvert.chat import ChatError, Effort
from ouvert.serving.catalog import Catalog
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.sentences import without_folders
from ouvert.store import Installed, Progress, Store, bytes_in_words

LOG = logging.getLogger("ouvert.serving")

Value = TypeVar("Value")

State = Literal["on_disk", "loading", "loaded", "failed"]
RETRY_SECONDS = 5  # advice to a client that asks for a model being loaded
FORGIVEN = 600.0  # seconds after which a failure of a model is no longer counted
LONGEST_PAUSE = 60.0  # seconds between a model's failure and its next loading, however often it failed


@dataclass
class LoadedModel:
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

    def __init__(self, entry: LoadedModel, model: Model, effort: Effort | None, name: str, owner: str) -> None:
        """`name` is what the client called it, `owner` whose prompts it is for: see `Engine.generate`."""
        self.model, self.effort, self.name, self.owner = model, effort, name, owner
        self._entry: LoadedModel | None = entry
        entry.uses += 1

    def asked(self, request: ChatRequest) -> ChatRequest:
        """The request of this model: with the effort in its name, for this owner's caches."""
        return replace(request, thinking=request.thinking.or_effort(self.effort), owner=self.owner)

    def prompt_ids(self, request: ChatRequest) -> Sequence[int]:
        """What the model would read, but for thoughts that would be put back. Takes its time."""
        return self.model.assistant.prompt(self.asked(request)).ids

    def give_back(self, keep: float | None = math.nan) -> None:
        """`keep`: how long it stays from now on, if the client said so."""
        if self._entry is not None:
            self._entry.uses -= 1
            self._entry.last_used = time.monotonic()
            if keep is None or not math.isnan(keep):
                self._entry.keep = keep
            self._entry = None


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
        allow: str | None = None,
    ) -> None:
        """`allow`: why adapters are served in which a check found a regression; None: they are not."""
        self.catalog = catalog
        self._store, self._keep, self._memory, self._load_wait = store, keep, memory, load_wait
        self._options, self._progress = load_options, progress
        self._here: dict[str, LoadedModel] = {}
        self._turn = asyncio.Lock()  # held while a model is loaded or let go
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ouvert-load")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: dict[str, list[float]] = {}  # when the model of that name failed, of late
        self.loads = 0
        self._allow = allow
        self._allowed: set[str] = set()  # digests of adapters that were noted as such

    def state_of(self, name: str) -> tuple[State, float | None]:
        """The state of the model with that own name; and how far it has been loaded, 0 to 1, if that is known."""
        entry = self._here.get(name)
        return ("on_disk", None) if entry is None else (entry.state, entry.progress)

    def states(self) -> dict[str, State]:
        return {name: entry.state for name, entry in self._here.items()}

    def model_of(self, name: str) -> Model | None:
        """The model of that own name, if it is in memory."""
        entry = self._here.get(name)
        return None if entry is None else entry.model

    def recovering(self, admits: Callable[[str], bool] = lambda own_name: True) -> int:
        """How many models failed and are not there again yet, of those that `admits` says yes to."""
        return sum(
            has_failed(each) or (each.recovers and each.model is None)
            for name, each in self._here.items()
            if admits(name)
        )

    def models(self) -> tuple[Model, ...]:
        """The models in memory. May be called from any thread."""
        return tuple(each.model for each in tuple(self._here.values()) if each.model is not None)

    @property
    def changing(self) -> bool:
        """Whether a model is being loaded or let go."""
        return self._turn.locked()

    async def settled(self) -> None:
        """Returns when no model is being loaded or let go any more."""
        async with self._turn:
            return

    def loaded(self) -> tuple[LoadedModel, ...]:
        return tuple(entry for entry in self._here.values() if entry.state == "loaded")

    def expires_in(self, entry: LoadedModel) -> float | None:
        """Seconds until an idle model is let go; None: it stays."""
        keep = entry.keep
        return None if keep is None else max(0.0, keep - (time.monotonic() - entry.last_used))

    async def lend(self, name: str, owner: str = "", admits: Callable[[str], bool] = lambda own_name: True) -> Lease:
        """The model, in memory. Raises Refusal: 404 where there is none that `admits` says yes to, 503 while it is
        loaded for too long, and at once where its engine failed and it is loaded again."""
        named = self.catalog.find(name, admits)
        entry = self._entry_of(named.installed.base)
        entry.uses += 1  # from now on, or it could be let go of between its loading and this one's turn
        try:
            model = entry.model if entry.model is not None else await self._loaded_in_time(entry)
            if named.installed.adapters:
                model = await asyncio.to_thread(self._adapted, model, named.installed.adapters)
            return Lease(entry, model, named.effort, name, owner)
        finally:
            entry.uses -= 1

    def _adapted(self, model: Model, names: Sequence[str]) -> Model:
        """The model with these adapters, which are read the first time. Raises Refusal 403 for one in which a check
        found a regression, unless the owner allows that; what `Model.with_adapters` raises."""
        records = [self._store.adapters.record(name) for name in names]
        regressed = [record for record in records if record.state == "regression"]
        if regressed and self._allow is None:
            raise Refusal(
                403,
                f"A check of the adapter {regressed[0].name} found a regression, so it is not served. Its owner sees "
                f"what was found with `ouvert adapter show {regressed[0].name}`, and may serve it all the same: "
                '`ouvert serve --allow "REASON"`.',
                code="adapter_regression",
                param="model",
            )
        adapted = model.with_adapters(*names)
        for record in regressed:
            if record.digest not in self._allowed:
                self._allowed.add(record.digest)
                self._store.adapters.allow(record, self._allow or "")
        return adapted

    def _entry_of(self, installed: Installed) -> LoadedModel:
        """The model in memory or on its way there; its loading is begun where it is neither. Raises Refusal 503 while
        one that failed is loaded again."""
        entry = self._here.get(installed.called)
        if entry is not None and has_failed(entry):
            entry = self._recover(entry)
        if entry is None or (entry.state == "failed" and not entry.recovers):
            entry = self._begin(installed)
        if entry.recovers and entry.model is None:
            raise Refusal(
                503,
                f"{installed.called} failed, and is being loaded again. Ask again in a few seconds; the server's log "
                "says why it failed.",
                code="model_recovering",
                retry_after=RETRY_SECONDS,
            )
        return entry

    async def _loaded_in_time(self, entry: LoadedModel) -> Model:
        """Raises Refusal 503 where loading takes longer than a request waits, and for what stops the loading."""
        assert entry.loaded is not None  # noqa: S101 - set by `_begin`, and gone only when the model is there
        try:
            async with asyncio.timeout(self._load_wait):
                return await asyncio.shield(entry.loaded)
        except TimeoutError:
            raise Refusal(
                503,
                f"{entry.installed.called} is being loaded. Ask again in a few seconds.",
                code="model_loading",
                retry_after=RETRY_SECONDS,
            ) from None

    async def release(self, name: str, admits: Callable[[str], bool] = lambda own_name: True) -> None:
        """Let go of a model as soon as it is idle. Raises Refusal 404 where there is none that `admits` says yes to."""
        entry = self._here.get(self.catalog.find(name, admits).installed.base.called)
        if entry is not None:
            entry.keep = 0.0
            await self.let_go_of_idle()

    async def remove(self, own_name: str, take_away: Callable[[], Value]) -> Value:
        """Let go of the model and call `take_away` in a thread, while none is loaded. Raises Refusal 409 while that
        model is being loaded or used, and what `take_away` raises."""
        self._require_idle(own_name)
        async with self._turn:
            for entry in self._require_idle(own_name):
                await self._close(entry, holds_turn=True)
            taken = await asyncio.to_thread(take_away)
            self.catalog.forget(own_name)
            return taken

    def _require_idle(self, own_name: str) -> list[LoadedModel]:
        """The model as it is in memory, at each precision. Raises Refusal 409 where it is being loaded, or answers."""
        entries = [each for each in self._here.values() if each.installed.name == own_name]
        for entry in entries:
            if entry.uses or entry.state == "loading":
                doing = "is being loaded" if entry.state == "loading" else "is answering"
                raise Refusal(
                    409,
                    f"{entry.installed.called} {doing}, so it cannot be removed now. Stop that, or wait for it.",
                    code="model_in_use",
                )
        return entries

    async def let_go_of_idle(self) -> None:
        """Close the models that nobody used for as long as they are kept."""
        for entry in list(self._here.values()):
            idle = entry.state == "loaded" and not entry.uses
            if idle and entry.keep is not None and time.monotonic() - entry.last_used >= entry.keep:
                await self._close(entry)

    async def watch(self) -> None:
        """Do `let_go_of_idle` and `recover` again and again, for ever."""
        while True:
            await asyncio.sleep(1.0 if self._keep is None else min(1.0, max(self._keep / 4, 0.05)))
            self.recover()
            await self.let_go_of_idle()
            for model in self.models():
                await asyncio.to_thread(model.adapters.let_go)

    def recover(self) -> None:
        """Load again what failed since it was loaded, or could not be loaded again."""
        for entry in tuple(self._here.values()):
            if has_failed(entry) or (entry.recovers and entry.state == "failed"):
                self._recover(entry)

    def _recover(self, failed: LoadedModel) -> LoadedModel:
        """Load it again in place of the failed one: at once the first time, then after longer and longer pauses."""
        name, now = failed.installed.called, time.monotonic()
        cause = "it could not be loaded" if failed.model is None else failed.model.engine.failure
        recent = [each for each in self._failures.get(name, []) if now - each < FORGIVEN]
        pause = pause_after(len(recent))
        self._failures[name] = [*recent, now]
        LOG.error("%s failed (%s); it is loaded again in %g s.", name, cause, pause)
        return self._begin(failed.installed, failed, pause)

    async def close(self) -> None:
        """Close all. Answers still being written end."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for entry in list(self._here.values()):
            await self._close(entry)
        self._thread.shutdown(wait=True)

    def _begin(self, installed: Installed, failed: LoadedModel | None = None, pause: float = 0.0) -> LoadedModel:
        """`failed` is what it takes the place of, after `pause` seconds."""
        entry = LoadedModel(installed, installed.size, keep=self._keep)
        if failed is not None:
            entry.keep, entry.recovers = failed.keep, True
        entry.loaded = asyncio.get_running_loop().create_future()
        self._here[installed.called] = entry
        task = asyncio.get_running_loop().create_task(self._load(entry, failed, pause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return entry

    async def _load(self, entry: LoadedModel, failed: LoadedModel | None, pause: float) -> None:
        assert entry.loaded is not None  # noqa: S101 - `_begin` has just made it
        entry.loaded.add_done_callback(lambda future: future.cancelled() or future.exception())  # may go unasked
        try:
            await asyncio.sleep(pause)
            async with self._turn:
                if failed is not None and failed.model is not None:
                    model, failed.model = failed.model, None
                    await asyncio.get_running_loop().run_in_executor(self._thread, model.close)
                entry.bytes = await asyncio.get_running_loop().run_in_executor(
                    self._thread, bytes_in_memory, entry.installed, self._options.get("precision")
                )
                await self._make_room(entry)
                watched = Watched(self._progress, entry)
                installed = entry.installed
                name = installed.called if installed.digest is not None else f"{installed.path}{suffix_of(installed)}"
                options = {"store": self._store, "progress": watched, **self._options}
                if options.get("elsewhere") is None:
                    options["memory"] = self._memory
                model = await asyncio.get_running_loop().run_in_executor(
                    self._thread, lambda: ready(load(name, **options))
                )
        except Exception as problem:  # handed to everybody who waits for the model
            entry.state = "failed"
            refusal = refusal_of(problem)
            if refusal is None:
                LOG.exception("loading %s", entry.installed.called)
                sentence = f"Loading {entry.installed.called}: {without_folders(str(problem))}"
                refusal = Refusal(500, sentence, code="model_unusable", param="model")
            entry.loaded.set_exception(refusal)
            return
        entry.model, entry.state, entry.progress = model, "loaded", None
        if options.get("elsewhere") is None:
            self.catalog.know(entry.installed, model.engine.facts.weights_digest)
        entry.last_used = time.monotonic()
        self.loads += 1
        entry.loaded.set_result(model)

    async def _make_room(self, wanted: LoadedModel) -> None:
        """Let go of the models that were used longest ago until this one fits. The caller holds the turn."""
        if self._memory is None:
            return
        if wanted.bytes > self._memory:
            size = await asyncio.get_running_loop().run_in_executor(self._thread, size_of, wanted.installed)
            if size.has_experts:
                wanted.bytes = self._memory  # they are read from disk when they are chosen; all others make room
        if wanted.bytes > self._memory:
            raise Refusal(
                507,
                f"{wanted.installed.called} takes {bytes_in_words(wanted.bytes)}, and this server may use "
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
                    f"There is no room for {wanted.installed.called} while other models are answering. Try again soon.",
                    code="overloaded",
                    retry_after=RETRY_SECONDS,
                )
            else:
                await asyncio.sleep(0.05)

    async def _close(self, entry: LoadedModel, *, holds_turn: bool = False) -> None:
        """Close this one, and not another that has taken its place meanwhile."""
        if self._here.get(entry.installed.called) is entry:
            del self._here[entry.installed.called]
        if entry.model is None:
            return
        model, entry.model = entry.model, None
        close = asyncio.get_running_loop().run_in_executor(self._thread, model.close)
        if holds_turn:
            await close
        else:
            async with self._turn:
                await close


def suffix_of(installed: Installed) -> str:
    """The precision that its name asks for, as it stands behind a name."""
    return installed.called.removeprefix(installed.name)


def pause_after(failures: int) -> float:
    """Seconds until a model is loaded again that has failed so many times of late: at once the first time, then after
    longer and longer."""
    return min(LONGEST_PAUSE, 2.0**failures - 1)


def has_failed(entry: LoadedModel) -> bool:
    """Whether its engine failed since it was loaded."""
    return entry.model is not None and entry.model.engine.failure is not None


def ready(model: Model) -> Model:
    """Make now what several threads would otherwise make at once when they first need it."""
    model.info, model.engine.facts  # noqa: B018 - properties that are computed once
    with suppress(AssistantError, ChatError):  # a file without text still computes; who asks for text is told
        model.assistant  # noqa: B018
    return model


class Watched:
    """A progress that also notes in the entry how far the loading is."""

    def __init__(self, progress: Progress, entry: LoadedModel) -> None:
        self._progress, self._entry = progress, entry
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
            self._entry.progress = min(1.0, self._done / self._total)
        self._progress.advance(count)

    def end(self) -> None:
        self._progress.end()

    def require_wanted(self) -> None:
        self._progress.require_wanted()
