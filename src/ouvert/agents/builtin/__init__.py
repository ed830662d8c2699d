"""The tools that every agent may name: `browser` over documents, `python` in a box, `files` of the run."""

from ouvert.agents.builtin.native import Native, from_native, native_tools

__all__ = ["Native", "from_native", "native_tools"]
