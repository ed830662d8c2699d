"""Adapters in the files of other programs: PEFT's folders. Part of `packed`; docs/formats/adapter.md."""

from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.peft_reading import read_peft
from ouvert.packed.adapters.peft_writing import Recognised, write_peft

__all__ = ["AdapterError", "Recognised", "read_peft", "write_peft"]
