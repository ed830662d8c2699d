"""`ouvert adapter import` and `export`: adapters from other programs' files, and into them."""

import argparse
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ouvert.cli.arguments import complete_installed
from ouvert.cli.environment import open_store
from ouvert.cli.inside import add_json, counted, loaded
from ouvert.cli.terminal import one_line, visible

if TYPE_CHECKING:
    from ouvert.packed import Adapter, AdapterFiles, Merge, MergeCheck, ModelFiles, OpenedAdapter
    from ouvert.store import AdapterRecord, Installed

TARGETS = ("peft", "gguf", "merged")
LAYOUTS = ("peft", "unsloth")  # packed.LAYOUTS, which completion must not wait for
ENCODINGS = {"gguf": "q8_0", "safetensors": "f16"}  # of a merged model where none is asked for, by its base's format
CARD = "README.md"


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Bring an adapter that another program made. Its numbers stay as they are; it is unchecked."
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder that peft writes, or a GGUF file")
    parser.add_argument("--name", metavar="NAME", help="what it is called here (the folder's or file's name)")
    named = parser.add_argument("--model", metavar="MODEL", help="whose adapter it is (the one that its files name)")
    named.completer = complete_installed  # type: ignore[attr-defined]
    parser.add_argument(
        "--expert-layout",
        choices=LAYOUTS,
        help="who packed the experts' factors, where the files do not say it: docs/formats/adapter.md",
    )
    add_json(parser, "adapter.md")
    parser.set_defaults(act=import_one)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write an adapter as other programs read it, or a whole model with the adapter in its weights."
    parser.add_argument("--to", choices=TARGETS, required=True, help="a folder for peft, a GGUF file, or a whole model")
    parser.add_argument(
        "--encoding",
        metavar="ENCODING",
        help="of what is merged: q8_0, f16 or bf16 (q8_0 for a base in GGUF, f16 for safetensors)",
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="where to (in the folder you are in: the folder "
                        "NAME for peft, NAME.gguf, NAME-ENCODING for a whole model)")  # fmt: skip
    parser.add_argument("--base", metavar="NAME", help="for peft: what others call the base, as "
                        "org/name (the hub's repository that it came from, else its name here)")  # fmt: skip
    add_json(parser, "adapter.md")
    parser.set_defaults(act=export_one)


# --- import ---


def import_one(args: argparse.Namespace) -> int:
    """0: it is here, unchecked."""
    from ouvert.packed import AdapterError, adapter_at, open_model

    files = adapter_at(args.path)
    name = args.name or name_of(args.path)
    require_free(name)
    base = open_store().resolve(args.model).base if args.model else named_base(files)
    with open_model(base.path) as model_files:
        found = files.open(model_files, args.expert_layout)
    if found.adapter.changes_nothing:
        raise AdapterError(
            f"importing {args.path}: everything that it adds is zero, expected an adapter that changes something. Was "
            "it saved before it was trained?"
        )
    with loaded(base.called) as model:
        card = partial(write_card, name, base, files)
        record = model.adapters.keep(name, found.adapter, source_of(files, found), beside=card)
    for remark in found.remarks:
        print(visible(remark), file=sys.stderr)
    facts = {"name": record.name, "path": str(record.path), **record.facts}
    text = f"{record.name}: {in_words(found.adapter)}. For {base.name}; unchecked, not gated."
    told(args, facts, f"{text}\nTo use it: ouvert run {base.name}+{record.name}")
    return 0


def name_of(path: Path) -> str:
    """What an adapter is called that nobody names: as its folder or file."""
    folder = path.parent if path.name.startswith("adapter_") else path
    stem = re.sub(r"\.gguf$", "", folder.resolve().name.lower())
    return re.sub(r"[^a-z0-9_.-]+", "-", stem).strip("-._")[:64] or "adapter"


def require_free(name: str) -> None:
    """Raise StoreError, before anything is computed, for a name that cannot be one or is taken."""
    from ouvert.store import StoreError, require_adapter_name

    require_adapter_name(name)
    adapters = open_store().adapters
    if name in (*adapters.names(), *adapters.left()):
        raise StoreError(
            f"there is an adapter {name!r} on this machine already. Choose another name with --name, or remove it "
            f"first: `ouvert adapter remove {name}`."
        )


def named_base(files: "AdapterFiles") -> "Installed":
    """The model on this machine that the files name. Raises StoreError where it is not one."""
    from ouvert.store import StoreError

    here = open_store().list()
    fitting = [each for each in here if files.base and is_called(each, plain(files.base))]
    if len(fitting) == 1:
        print(f"For {fitting[0].name}: its files name {one_line(files.base or '')}.", file=sys.stderr)
        return fitting[0]
    said = f"its files name {files.base!r:.120} as its base" if files.base else "its files do not name its base"
    known = ", ".join(each.name for each in here) or "none yet"
    raise StoreError(
        f"importing {files.path}: {said}, expected one model of this machine (there are: {known}). Say which with "
        "--model; `ouvert pull` brings one."
    )


def is_called(installed: "Installed", base: str) -> bool:
    """Whether its name, its source or its file's name is that of the base; a quantisation may stand behind the last."""
    file = installed.path.name.lower()
    known = (installed.name, installed.source, installed.repository or "")
    return base in map(plain, known) or file.startswith((f"{base}.", f"{base}-q"))


def plain(name: str) -> str:
    """A model's name without owner, revision, format and case: to compare."""
    last = name.partition("@")[0].rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[-_.]gguf$", "", last.removeprefix("hf:"))


def source_of(files: "AdapterFiles", found: "OpenedAdapter") -> dict[str, Any]:
    """As the record has it: docs/formats/adapter.md."""
    from ouvert.weights import sha256_of

    digests = {each.name: f"sha256:{sha256_of(each)}" for each in files.files}
    return {"imported": {"from": files.kind, "expert_layout": found.expert_layout, "files": digests}}


def in_words(adapter: "Adapter") -> str:
    """How many weights it adapts, and of which kinds."""
    kinds = Counter(name.split(".", 2)[2] for name in adapter.pairs)
    ranks = sorted({pair.rank for pair in adapter.pairs.values()})
    of_ranks = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    listed = ", ".join(f"{kind} ×{count}" for kind, count in kinds.items())
    return f"{len(adapter.pairs)} weights ({listed}), {of_ranks}, {adapter.parameters:,} numbers"


def write_card(name: str, base: "Installed", files: "AdapterFiles", folder: Path) -> None:
    """README.md beside the numbers."""
    said = f" Its files name {quoted(files.base)} as its base." if files.base else ""
    (folder / CARD).write_text(
        f"# {name}\n\nAn adapter of low rank for {base.name}, imported from {files.kind} files.{said} Not checked "
        f"here.\n\n- base: {base.name} ({base.source}), {base.digest}\n- licence of the base: "
        f"{base.licence or 'unknown'}\n- its own licence and its data: what whoever made it says\n",
        encoding="utf-8",
    )


def quoted(text: str) -> str:
    """What a stranger wrote, in a card: in its line, and nothing that Markdown or a terminal would obey."""
    return f"`{one_line(text).replace('`', chr(39)):.200}`"


# --- export ---


def export_one(args: argparse.Namespace) -> int:
    """0: it is written, and what is merged was read again and compared."""
    from ouvert.packed import write_gguf_adapter

    require_fitting(args)
    record = open_store().adapters.record(args.name)
    base = base_of(record)
    with reading(base, record) as (files, adapter):
        if args.to == "merged":
            return export_merged(args, record, base, files, adapter)
        path = args.out or Path(record.name if args.to == "peft" else f"{record.name}.gguf")
        require_new(path)
        if args.to == "peft":
            write_folder(path, adapter, files, args.base or base.repository or base.name,
                         partial(write_exported_card, record, base, args.base))  # fmt: skip
        else:
            write_gguf_adapter(adapter, path, files, record.name)
    facts = {"name": record.name, "digest": record.digest, "to": args.to, "path": str(path)}
    told(args, facts, f"{path}: {in_words(adapter)}.")
    return 0


def require_fitting(args: argparse.Namespace) -> None:
    """Raise AdapterError for an option that would have no effect."""
    from ouvert.packed import AdapterError

    for option, to in (("encoding", "merged"), ("base", "peft")):
        if getattr(args, option) is not None and args.to != to:
            raise AdapterError(
                f"exporting to {args.to}: --{option} {getattr(args, option)} has no effect there, expected with --to "
                f"{to}. Leave it out."
            )


def base_of(record: "AdapterRecord") -> "Installed":
    """The model that an adapter was made for, by the digest of its weights. Raises StoreError where it is not here."""
    from ouvert.store import StoreError

    weights, name = record.base["weights"], record.base_name
    here = next((each for each in open_store().list() if each.digest == weights), None)
    if here is None:
        raise StoreError(
            f"exporting the adapter {record.name}: its base, {name} with the weights {weights}, is not on this "
            f"machine, expected it here. `ouvert pull {name}` brings it."
        )
    return here


@contextmanager
def reading(base: "Installed", record: "AdapterRecord") -> "Iterator[tuple[ModelFiles, Adapter]]":
    """Its base's files and its numbers. Raises StoreError for numbers that are not the record's."""
    from ouvert.packed import open_model, read_peft
    from ouvert.store import StoreError

    with open_model(base.path) as files:
        adapter = read_peft(record.path, files)
        if adapter.digest != record.digest:
            raise StoreError(
                f"reading the adapter {record.name}: its numbers have the digest {adapter.digest}, and its record says "
                f"{record.digest}: they were changed since it was made. Make or import it again."
            )
        yield files, adapter


def require_new(path: Path) -> None:
    """Raise AdapterError for a place that is taken, or in a folder that is not there."""
    from ouvert.packed import AdapterError

    if not path.parent.is_dir():
        raise AdapterError(f"exporting: the folder {path.parent} is not there, expected one to write into. Make it.")
    if path.exists():
        raise AdapterError(f"exporting: {path} is there already, expected a new name. Choose another with --out.")


def write_folder(
    path: Path, adapter: "Adapter", files: "ModelFiles", base: str, write_card: Callable[[Path], None]
) -> None:
    """PEFT's folder and what `write_card` puts in, beside and renamed. Raises what `write_peft` raises, and OSError."""
    from ouvert.packed import write_peft

    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        beside.mkdir()
        write_peft(adapter, beside, files, base)
        write_card(beside)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_exported_card(record: "AdapterRecord", base: "Installed", given: str | None, folder: Path) -> None:
    """README.md of PEFT's folder: which base it belongs to, and what is known of it. No paths of this machine."""
    from ouvert.store import shown_state

    called = given or base.repository
    lines = [
        "---",
        *([f"base_model: {json.dumps(called)}"] if called else []),
        "library_name: peft",
        "tags: [lora, ouvert]",
        "---",
        f"\n# {record.name}\n",
        (
            f"An adapter of low rank (LoRA) for {quoted(called or base.name)}, as peft reads it. On other weights its "
            "numbers mean nothing.\n"
        ),
        (
            f"- base: {quoted(called or base.name)}, called {quoted(base.name)} where it was exported; digest of its "
            f"weights there: {base.digest}"
        ),
        *([] if called else ["- where others find the base was not known: `--base org/name` would have said it"]),
        f"- licence of the base: {one_line(base.licence or 'unknown')}",
        f"- state: {shown_state(record.state)}",
        f"- digest of its numbers: {record.digest}",
    ]
    (folder / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def export_merged(
    args: argparse.Namespace, record: "AdapterRecord", base: "Installed", files: "ModelFiles", adapter: "Adapter"
) -> int:
    """Plan, write under another name, read again and compare, and give it its name."""
    from ouvert.packed import plan_merge, write_merge

    encoding = args.encoding or ENCODINGS[files.checkpoint.format]
    plan = plan_merge(files, adapter, encoding)
    path = args.out or Path(f"{record.name}-{encoding}.gguf" if plan.in_gguf else f"{record.name}-{encoding}")
    require_new(path)
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    show = counted("million numbers") or (lambda done, of: None)
    try:
        noted = {"ouvert.adapter": record.digest}
        write_merge(plan, beside, noted, lambda done, of: show(done // 10**6, of // 10**6))
        if not plan.in_gguf:
            copy_companions(base, beside)
        found = compared(plan, beside, record)
        beside.rename(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        beside.unlink(missing_ok=True)
    facts = {
        "name": record.name, "digest": record.digest, "to": "merged", "encoding": encoding, "path": str(path),
        "weights_compared": found.weights, "logits_changed": found.changed, "logits_apart": found.apart,
        "in_f16": list(plan.fallen_back),
    }  # fmt: skip
    told(args, facts, merged_in_words(path, plan, found))
    return 0


def compared(plan: "Merge", path: Path, record: "AdapterRecord") -> "MergeCheck":
    """What was written, beside what should have been; the logits behind the probe's text, if there is a probe."""
    import numpy as np

    from ouvert.packed import check_merge

    probe = record.facts.get("probe")
    ids = probe.get("ids") if isinstance(probe, dict) else None
    return check_merge(plan, path, np.array(ids, np.int32) if ids else None)


def copy_companions(base: "Installed", folder: Path) -> None:
    """Tokenizer, templates and licence, beside weights in a folder."""
    from ouvert.store import is_companion

    source = base.path if base.path.is_dir() else base.path.parent
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source).as_posix()
        if is_companion(name) and not name.endswith(".index.json") and not (folder / name).exists() and file.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)


def merged_in_words(path: Path, plan: "Merge", found: "MergeCheck") -> str:
    """What was written, and what comparing found."""
    changed = sum(not each.copied for each in plan.tensors.values())
    lines = [
        f"{path}: {changed} of {len(plan.tensors)} tensors in {plan.encoding.lower()}, the others as in the base.",
        f"Read again and compared: {found.weights} weights are what they should be.",
    ]
    if found.changed is not None and found.apart is not None:
        lines.append(
            f"Logits, of the largest: the adapter changes them by {found.changed:.3f}, and the file's are "
            f"{found.apart:.4f} away from those of the base with the adapter."
        )
    if plan.fallen_back:
        lines.append(f"{len(plan.fallen_back)} tensors are in f16: their rows are no multiple of 32 numbers.")
    return "\n".join(lines)


def told(args: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    print(json.dumps(facts, ensure_ascii=False) if args.json else visible(text))
