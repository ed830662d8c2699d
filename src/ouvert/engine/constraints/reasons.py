"""Why llguidance cannot use a grammar, in words of ours."""

import re

LONGEST_REASON = 600

# What llguidance says, where its words name things that nobody here can see or set.
REASONS = (
    (
        r"oneOf constraints are not supported.*",
        "alternatives of oneOf that may hold at once, expected a type or a required constant to tell them apart",
    ),
    (
        r"Resource '(.*?)' is not present in a registry.*",
        r"a $ref to another document: '\1', expected one to a place in the schema itself",
    ),
    (r"panic: assertion failed: grammar.symbols.*", "it has more symbols than llguidance can count (65,525)"),
    (r"NoExtensionBias.*", "no text is one of it, expected at least one"),
)


def in_our_words(reason: str, kind: str = "lark") -> str:
    """The reason without llguidance's traces, with line and column for a Lark grammar (other kinds are translated)."""
    reason = re.split(r"\s*<(?:backtrace|non-verbose|state)", reason.strip(), maxsplit=1)[0]
    place = r"line \1, column \2: " if kind == "lark" else ""
    reason = re.sub(r"\A(?:at )?(\d+)\((\d+)\): ", place, reason)
    for theirs, ours in REASONS:
        if re.match(theirs, reason, re.S):
            return re.sub(theirs, ours, reason, flags=re.S)
    return reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + " ..."
