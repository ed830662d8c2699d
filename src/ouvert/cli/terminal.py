"""What may be written to a terminal: files and models hold what others wrote, and a terminal obeys some characters."""

import os
import sys
import unicodedata
from io import TextIOWrapper

# Everything a terminal may obey (C0, DEL, C1) but line breaks and tabs, and how it is shown instead.
OBEYED = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\n\t"}


def visible(text: str) -> str:
    """The text with control characters spelled out, so that no file's text moves the cursor or names the window."""
    return text.translate(OBEYED)


def one_line(text: str) -> str:
    """The same of what has to stay in its line, such as a name: line breaks and tabs are spelled out, too."""
    return visible(text).translate({ord("\n"): "\\n", ord("\t"): "\\t"})


def columns_of(sign: str) -> int:
    """How many columns a sign takes in a terminal."""
    if unicodedata.category(sign) in {"Cc", "Cf", "Mn", "Me", "Cs"}:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def ready_streams() -> None:
    """Make stdout and stderr take any text: what their encoding lacks is spelled out, and closed ones swallow all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
