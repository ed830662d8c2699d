"""Adapters in the files of other programs, PEFT and llama.cpp. Part of `packed`; docs/formats/adapter.md."""

from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.gguf_files import open_gguf_adapter, read_gguf_adapter, write_gguf_adapter
from ouvert.packed.adapters.kinds import AdapterFiles, adapter_at
from ouvert.packed.adapters.merge_check import MergeCheck, check_merge
from ouvert.packed.adapters.merging import MERGED, Merge, plan_merge, write_merge
from ouvert.packed.adapters.peft_experts import LAYOUTS, ExpertLayout
from ouvert.packed.adapters.peft_reading import OpenedAdapter, open_peft, read_peft
from ouvert.packed.adapters.peft_writing import Recognised, write_peft

__all__ = [
    "LAYOUTS",
    "MERGED",
    "AdapterError",
    "AdapterFiles",
    "ExpertLayout",
    "Merge",
    "MergeCheck",
    "OpenedAdapter",
    "Recognised",
    "adapter_at",
    "check_merge",
    "open_gguf_adapter",
    "open_peft",
    "plan_merge",
    "read_gguf_adapter",
    "read_peft",
    "write_gguf_adapter",
    "write_merge",
    "write_peft",
]
