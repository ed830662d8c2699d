"""Lines that programs write before their instructions for their own provider's servers, and no model is to read.

Claude Code begins its system prompt with `x-anthropic-billing-header: …; cch=fa690;`, which differs in every request: a
prompt that begins with it shares no beginning with the one before it.
"""

import re

HEADER = re.compile(r"x-anthropic-[\w-]+:[^\n]*")
LEFT_OUT = "system: a line x-anthropic-… is left out, as it is for Anthropic's servers and not for a model"


def without_header_lines(text: str) -> str:
    """The text without such lines at its beginning."""
    while found := HEADER.match(text.lstrip()):
        text = text.lstrip()[found.end() :].lstrip("\n")
    return text
