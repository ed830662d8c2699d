"""Whose adapter lies at a path, and what its files say of its base, before a model is known."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.gguf_files import open_gguf_adapter
from ouvert.packed.adapters.peft_experts import ExpertLayout
from ouvert.packed.adapters.peft_reading import PICKLE, OpenedAdapter, open_peft
from ouvert.packed.adapters.peft_settings import read_settings
from ouvert.packed.adapters.peft_writing import CONFIG, WEIGHTS, Recognised
from ouvert.weights import CheckpointError, open_checkpoint

EXPECTED = f"expected the folder that peft writes ({CONFIG} and {WEIGHTS} in it), or a GGUF file with a LoRA"


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter that is not opened yet. `path`: of a folder as PEFT writes it, or of a GGUF file; `files`: those that
    it consists of; `base`: the name or path of its base, if they say one."""

    kind: Literal["peft", "gguf"]
    path: Path
    files: tuple[Path, ...]
    base: str | None

    def open(self, model: Recognised, expert_layout: ExpertLayout | None = None) -> OpenedAdapter:
        """The adapter, for this model. Raises AdapterError as `read_peft` and `read_gguf_adapter` do."""
        if self.kind == "peft":
            return open_peft(self.path, model, expert_layout)
        if expert_layout is not None:
            raise AdapterError(
                f"{self.path}: --expert-layout {expert_layout} was asked for, and GGUF has only one. Leave it out."
            )
        return open_gguf_adapter(self.path, model)


def adapter_at(path: Path) -> AdapterFiles:
    """What lies at `path`: PEFT's folder or one of its two files, or a GGUF file. Raises AdapterError for what is none
    or cannot be read."""
    if path.name in (CONFIG, WEIGHTS):
        path = path.parent
    if not os.path.lexists(path):
        raise AdapterError(f"importing an adapter: there is nothing at {path}, {EXPECTED}. Check the path.")
    if os.path.isdir(path):
        missing = [name for name in (CONFIG, WEIGHTS) if not os.path.lexists(path / name)]
        if missing and not (missing == [WEIGHTS] and os.path.lexists(path / PICKLE)):  # of which opening it says more
            raise AdapterError(
                f"importing an adapter: {path} holds no {' and no '.join(missing)}, {EXPECTED}. Name the folder that "
                "has both of its files."
            )
        return AdapterFiles("peft", path, (path / CONFIG, path / WEIGHTS), read_settings(path / CONFIG).base)
    if path.name == PICKLE:
        raise AdapterError(
            f"{path} is a pickle, which may run code when it is opened, expected {WEIGHTS}. Save the adapter with peft "
            "once more: safetensors is what it writes by itself."
        )
    try:
        opened = open_checkpoint(path)
    except CheckpointError as problem:
        raise AdapterError(f"importing an adapter: {path} cannot be read as one, {EXPECTED}. {problem}") from problem
    with opened as checkpoint:
        said = checkpoint.metadata if checkpoint.format == "gguf" else {}
        if said.get("general.type") != "adapter":
            raise AdapterError(
                f"importing an adapter: {path} is none, {EXPECTED} (its general.type is 'adapter'). A model is brought "
                "by `ouvert pull`."
            )
        base = said.get("general.base_model.0.name")
    return AdapterFiles("gguf", path, (path,), base if isinstance(base, str) else None)
