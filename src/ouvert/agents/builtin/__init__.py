"""The tools that every agent may name: `browser` over documents, `python` in a box, `files` of the run."""

from ouvert.agents.builtin.native import BROWSER, Native, from_native, native_tools

__all__ = ["BROWSER", "Native", "from_native", "native_tools"]
