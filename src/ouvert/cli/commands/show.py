"""`ouvert show MODEL`: what a model is, and where it came from."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Any, cast

from ouvert.cli.arguments import add_model_argument
from ouvert.cli.environment import open_store
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.assistant import AskedPrecision
    from ouvert.store import Installed, Packed
    from ouvert.weights import Checkpoint

SUMMARY = "Say what a model is, and where it came from."

TEMPLATE_LINES = 6

# Field of a model's configuration -> what we call it. A family shows those it has.
SHAPE = {
    "num_hidden_layers": "layers",
    "hidden_size": "hidden size",
    "intermediate_size": "inner size",
    "num_attention_heads": "query heads",
    "num_key_value_heads": "key heads",
    "head_dim": "head size",
    "num_local_experts": "experts",
    "n_routed_experts": "experts",
    "num_experts": "experts",
    "num_experts_per_tok": "experts a token",
    "state_size": "state size",
    "vocab_size": "vocabulary",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser, help="a short name, a model in the store, a folder or a file")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the whole configuration")
    parser.add_argument("--template", action="store_true", help="print the whole chat template and nothing else")
    parser.add_argument("--verify", action="store_true", help="read every file again and compare its digest")


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: there is no such model here, or (with --verify) it is not what was fetched, or its packed weights
    are not what was packed."""
    from ouvert.cli.progress import show_progress

    store = open_store()
    installed = store.verify(args.model, show_progress(sys.stderr)) if args.verify else store.resolve(args.model)
    if args.verify:
        require_whole(installed.packed)
    facts = provenance(installed) | contents(installed)
    if args.template:
        template = facts["chat_template"] or ""
        print(visible(template) if sys.stdout.isatty() else template)
    elif args.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
    else:
        print_facts(facts)
    return 0


def require_whole(packed: "Iterable[Packed]") -> None:
    """Read packed weights of this version's layout whole. Raises StoreError for the first that is damaged."""
    from ouvert.packed import LAYOUT_VERSION, damage_in
    from ouvert.store import StoreError

    for each in packed:
        if each.layout.startswith(f"{LAYOUT_VERSION}-") and (damage := damage_in(each.path)) is not None:
            raise StoreError(
                f"the packed weights in {each.path} are damaged: {damage}. The model itself is whole: delete that "
                "file, and it is made again when the model is next used."
            )


def provenance(installed: "Installed") -> dict[str, Any]:
    """What the store knows: name, place, source, licence, digests."""
    return {
        "name": installed.name,
        "path": str(installed.path),
        "source": installed.source,
        "revision": installed.revision,
        "licence": installed.licence,
        "fetched_at": installed.fetched_at,
        "fetched_from": installed.fetched_from,
        "linked": installed.linked,
        "bytes": installed.size,
        "digest": installed.digest,
        "files": [{"name": file.name, "bytes": file.size, "digest": file.digest} for file in installed.files],
        "adapters": adapters_for(installed),
        "packed": [
            {"layout": each.layout, "precision": each.precision, "bytes": each.size, "path": str(each.path)}
            for each in installed.packed
        ],
    }


def adapters_for(installed: "Installed") -> list[dict[str, str]]:
    """The adapters on this machine that were made for these weights, or those that its name asks for."""
    from ouvert.store import shown_state

    return [
        {"name": each.name, "digest": each.digest, "state": each.state, "shown": shown_state(each.state)}
        for each in open_store().adapters.readable()
        if each.base["weights"] == installed.digest and (not installed.adapters or each.name in installed.adapters)
    ]


def contents(installed: "Installed") -> dict[str, Any]:
    """What the files themselves say: family, shape, parameters, encodings, context, template."""
    from ouvert.chat import Language
    from ouvert.weights import open_checkpoint

    with open_checkpoint(installed.path) as checkpoint:
        encodings: dict[str, int] = {}
        for tensor in checkpoint.tensors.values():
            encodings[tensor.encoding] = encodings.get(tensor.encoding, 0) + tensor.data.nbytes
        language = Language(installed.name, "", checkpoint.metadata, checkpoint.folder)
        facts: dict[str, Any] = {
            "format": checkpoint.format,
            "family": None,
            "not_runnable": None,
            "parameters": None,
            "context": None,
            "configuration": None,
            "precision": None,
            "packed_bytes": None,
            "bytes_to_run": None,
            "bytes_with_experts_on_disk": None,
            "tensors": len(checkpoint.tensors),
            "encodings": dict(sorted(encodings.items(), key=lambda pair: -pair[1])),
            "chat_template": language.template,
            "chat_template_names": list(language.templates),
        }
        return facts | recognised(checkpoint, installed)


def recognised(checkpoint: "Checkpoint", installed: "Installed") -> dict[str, Any]:
    """What the model is and takes, at which precision it runs, or why this version cannot run it."""
    from ouvert.assistant import USUAL_CONTEXT, precision_of
    from ouvert.cli.configuration import Configuration
    from ouvert.engine import demand_of_files, least_plan, memory_to_run
    from ouvert.models import recognise
    from ouvert.packed import settled
    from ouvert.weights import CheckpointError

    try:
        family, config = recognise(checkpoint)
        parameters = family.parameters(config, checkpoint)
        configured = cast("AskedPrecision | None", Configuration().value("precision"))
        precision = settled(parameters, precision_of(installed, configured), installed.path)
        demand = demand_of_files(installed.path, precision=precision)
        from_disk = least_plan(demand, USUAL_CONTEXT).memory if demand.experts else None
    except CheckpointError as problem:
        return {"not_runnable": str(problem)}
    return {
        "family": family.name,
        "parameters": sum(prod(parameter.shape) for parameter in parameters if not parameter.same_as),
        "context": getattr(config, "max_position_embeddings", None),
        "configuration": asdict(config),
        "precision": precision,
        "packed_bytes": demand.weights,
        "bytes_to_run": memory_to_run(demand, USUAL_CONTEXT),
        "bytes_with_experts_on_disk": from_disk,
    }


def print_facts(facts: dict[str, Any]) -> None:
    """Titles on the left, facts on the right; what is not known is left out."""
    from ouvert.store import bytes_in_words

    def say(title: str, *lines: object) -> None:
        for line in lines:
            if line not in (None, ""):
                print(visible(f"{title:>12}  {line}"))
                title = ""

    configuration = facts["configuration"] or {}
    shape = [f"{word} {configuration[name]}" for name, word in SHAPE.items() if name in configuration]
    total = sum(facts["encodings"].values()) or 1
    say("name", facts["name"])
    say("family", facts["family"] or "not known to this version")
    say("", facts["not_runnable"])
    if facts["parameters"]:
        say("parameters", number_in_words(facts["parameters"]))
    say("shape", ", ".join(shape))
    say("context", facts["context"] and f"{facts['context']} tokens")
    say(
        "encodings",
        *(f"{name}: {bytes_in_words(size)} ({size / total:.1%})" for name, size in facts["encodings"].items()),
    )
    if facts["precision"]:
        words = "as it is stored" if facts["precision"] == "stored" else f"{facts['precision']} bits"
        say("precision", f"{words}: {bytes_in_words(facts['packed_bytes'])} when packed")
    say("licence", facts["licence"] or "not stated")
    say("source", facts["source"] + (f" at {facts['revision']}" if facts["revision"] else ""))
    say(
        "fetched",
        facts["fetched_at"] and facts["fetched_at"] + (f", from {facts['fetched_from']}" * bool(facts["fetched_from"])),
    )
    say("place", facts["path"] + (" (linked)" if facts["linked"] and facts["digest"] else ""))
    say("size", bytes_in_words(facts["bytes"]))
    say("digest", facts["digest"])
    if len(facts["files"]) > 1:
        say("files", *(f"{file['digest']}  {file['name']}" for file in facts["files"]))
    say(
        "packed",
        *(f"{each['precision']}: {bytes_in_words(each['bytes'])} ({each['layout']})" for each in facts["packed"]),
    )
    say("adapters", *(f"{each['name']} ({each['shown']})" for each in facts["adapters"]))
    if facts["digest"]:
        stored = 0 if facts["linked"] else facts["bytes"]  # a linked file is not the store's
        say("stored", bytes_in_words(stored + sum(each["bytes"] for each in facts["packed"])))
    say("to run", *memory_in_words(facts))
    lines = (facts["chat_template"] or "none: a built-in one for the family is used").splitlines()
    rest = len(lines) - TEMPLATE_LINES
    say("template", *(shortened(line) for line in lines[:TEMPLATE_LINES] if line.strip()))
    if rest > 0:
        say("", f"... and {rest} more lines: ouvert show {facts['name']} --template")
    if len(facts["chat_template_names"]) > 1:
        names = ", ".join(shortened(repr(name)[1:-1], 40) for name in facts["chat_template_names"][:20])
        say("templates", f"{names} (tool_use is taken where tools are given; --template NAME takes another)")


def memory_in_words(facts: dict[str, Any]) -> Iterator[str]:
    """What a model takes to run, if that is known."""
    from ouvert.assistant import USUAL_CONTEXT
    from ouvert.store import bytes_in_words

    if facts["bytes_to_run"]:
        yield f"{bytes_in_words(facts['bytes_to_run'])} of memory, with a conversation of {USUAL_CONTEXT} tokens"
    if facts["bytes_with_experts_on_disk"]:
        yield f"or {bytes_in_words(facts['bytes_with_experts_on_disk'])} at least, slower, with experts read from disk"


def shortened(line: str, width: int = 100) -> str:
    return line if len(line) <= width else line[: width - 4] + " ..."


def number_in_words(count: int) -> str:
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.4g} {word} ({count:,})"
    return f"{count:,}"
