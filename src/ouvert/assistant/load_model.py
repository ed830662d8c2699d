"""`ouvert.load`: from a name to a model in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.assistant.load_elsewhere import Elsewhere, open_elsewhere
from ouvert.assistant.load_installed import kept_prefixes, open_installed
from ouvert.assistant.model import Model
from ouvert.assistant.receipts.ledger import Ledger
from ouvert.assistant.sampling import not_done
from ouvert.engine import PRECISIONS, AskedPrecision, AtMost, CacheType, Opened, PageFiles, PrecisionLimit
from ouvert.safety import Guard
from ouvert.store import SILENCE, Progress, Store, bytes_in_words, default_home


def load(
    model: str | Path,
    *,
    threads: int | None = None,
    context: int | None = None,
    exact: bool = False,
    cache: CacheType | None = None,
    store: Store | None = None,
    progress: Progress = SILENCE,
    receipts: Ledger | bool = True,
    guard: Guard | None = None,
    prefixes: PageFiles | bool = True,
    clip_context: bool = False,
    template: str | Path | None = None,
    elsewhere: Elsewhere | None = None,
    precision: AskedPrecision | int | None = None,
    memory: int | None = None,
) -> Model:
    """Load a model: an alias ("smollm2"), a name in the store, or the path of a folder or file. Opens no connection.

    A precision may stand behind the name ("qwen3:0.6b@8"), and adapters that answer ("smollm2+tickets").
    `threads`: how many compute; left out, as many as serve best. `context`: most tokens of a conversation; left out,
    as many as the model was made for. `clip_context`: more than that is taken for that, and `progress` says so;
    without, it is an error. `exact`: activations stay float32 where a faster way would round them. `cache`: how keys
    and values are kept: "f16" as a rule, "q8" for about half the memory (docs/formats/cache.md). `store`: another than
    the one of this user. `progress` is shown while weights are packed, which happens once. `receipts`: the receipt of
    every answer is kept in the store's ledger, without what was said (docs/formats/receipt.md); False keeps none, an
    ouvert.Ledger says where and what. `guard`: that of this process (`ouvert.guard()`), whose counts then stand in
    every receipt. `prefixes`: what prompts begin with is kept on disk, encrypted with a key of this user's
    (docs/formats/prefix-cache.md); False keeps it in memory only, an ouvert.PageFiles says where, how much, and with
    which key. `template`: a chat template instead of the model's own: "builtin" (ours for its vocabulary),
    "builtin:chatml" or another of ours, the name of one of several that the model brings, or a file. `elsewhere`: what
    makes the engine where another program computes (`ouvert.assistant.Elsewhere`); the files of the model then only say
    what it is, and what is asked about computing is not this process's to set. `precision`: to how many bits large
    matrices are rounded, 4, 8 or 16, or "stored"; left out, 4 where nobody has quantised the model yet
    (docs/guides/models.md), more than it has only as a `PrecisionLimit`. That of the name comes first. `memory`: bytes
    that the model may take (nine tenths of this machine's): a larger mixture of experts reads its experts from disk.

    Raises StoreError with what to do if the model or an adapter is not on this machine or does not fit, CheckpointError
    for files that cannot be used, EngineError for settings that cannot be honoured, AssistantError for `receipts` or
    `prefixes` of another type and for a generation_config.json that cannot be read, ChatError for a `template` that
    cannot be used, TokenizerError if its tokenizer cannot be read.
    """
    check_kept("receipts", receipts, Ledger)
    check_kept("prefixes", prefixes, PageFiles)
    installed = (store := store or Store(default_home())).resolve(str(model))
    computing: dict[str, Any] = {"threads": threads, "context": context, "exact": exact, "cache": cache}
    computing |= {"precision": checked_precision(precision), "memory": memory}
    if elsewhere is not None:
        refuse_settings_of_here(model, computing)
        opened = open_elsewhere(store, installed, elsewhere, progress)
    else:
        if clip_context and context is not None:
            computing["context"] = AtMost(context)
        computing["prefixes"] = kept_prefixes(store, say=progress.say) if prefixes is True else prefixes or None
        opened = open_installed(store, installed, progress=progress, **computing)
    ledger = Ledger(store.home / "receipts") if receipts is True else receipts or None
    chosen = None if template is None else str(template)
    made = Model(installed.name, installed.source, opened, ledger, guard, chosen, store.adapters)
    return looked_through(made, opened, context, template is not None, progress, installed.adapters)


def looked_through(
    model: Model,
    opened: Opened,
    context: int | None,
    template_chosen: bool,
    progress: Progress,
    adapters: Sequence[str],
) -> Model:
    """The model with its adapters, after what would otherwise come up at the first answer: a chosen template that
    cannot be used is refused; a shorter `context` than was asked for is said, and that experts are read from disk, and
    advice of the model's makers that this version does not follow.

    Raises ChatError, AssistantError, and what `Model.with_adapters` raises.
    """
    try:
        name = model.info.name
        if context is not None and context > (most := opened.engine.context):
            progress.say(f"{name} was made for {most} tokens: its context is {most}, and not {context}.")
        if (plan := opened.memory_plan) is not None:
            progress.say(
                f"{name} is larger than the memory it may take: its experts are read from disk when they are chosen. "
                f"{bytes_in_words(plan.experts)} of {bytes_in_words(plan.all_experts)} are kept, the busiest."
            )
        if template_chosen:
            _ = model.chat_format
        if (advice := not_done(opened.folder, opened.metadata)) is not None:
            progress.say(advice)
        return model.with_adapters(*adapters) if adapters else model
    except BaseException:
        model.close()
        raise


def checked_precision(given: object) -> AskedPrecision | None:
    """A precision as its name. Raises AssistantError for what is none."""
    if given is None or isinstance(given, PrecisionLimit):
        return given
    named = [each for each in PRECISIONS if each == str(given)]
    if not named or isinstance(given, bool):
        raise AssistantError(
            f"loading a model: precision is {given!r:.80}, expected 4, 8, 16 or 'stored'. Leave it out for 4 bits, or "
            "those of a file that was quantised already."
        )
    return named[0]


def refuse_settings_of_here(model: str | Path, settings: Mapping[str, object]) -> None:
    """Raises AssistantError for settings of computing, where another program computes."""
    stated = [
        f"{name}={value!r}"
        for name, value in settings.items()
        if value not in (None, False) and not isinstance(value, PrecisionLimit)  # a limit is for the models of here
    ]
    if stated:
        raise AssistantError(
            f"loading {model}: {', '.join(stated)}, and another program computes this model. Set it where that is "
            "started, and leave it out here."
        )


def check_kept(name: str, given: object, kind: type) -> None:
    """A path in the place of a ledger or of page files would be taken for True. Raises AssistantError."""
    if not isinstance(given, (bool, kind)):
        raise AssistantError(
            f"loading a model: {name} is {given!r:.80}, expected True, False or an ouvert.{kind.__name__}. "
            f"Make one: ouvert.{kind.__name__}(folder, ...)."
        )
