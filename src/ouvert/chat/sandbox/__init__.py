"""A model's own chat template, run as what it is: a program by a stranger.

The template comes with the weights, so it may be anything. It runs in Jinja's immutable sandbox, narrowed:

* only the methods and filters listed here exist;
* every value it makes is charged its full size to a budget, before it is made where it could be large, and every
  turn of a loop is charged too: memory and output are bounded, and the bound does not depend on the machine;
* no value is nested deeper than DEEPEST, so nothing that walks through one can use up the stack;
* a clock ends what is slow in spite of that.

What none of this foresees ends with the process it runs in: ouvert.chat.renderer runs here only templates it knows.

Every text that the template itself has is its own, and every text it makes knows whose each character is
(ouvert.chat.owned_text).

Apart from these limits it behaves as `transformers` does in `apply_chat_template` (trim_blocks, lstrip_blocks, loop
controls, `{% generation %}`, `raise_exception`, its `tojson`).
"""

from ouvert.chat.sandbox.budget import SECONDS
from ouvert.chat.sandbox.environment import DateFormatter
from ouvert.chat.sandbox.sandbox import Sandbox, TemplateError, refuse_what_is_too_long, too_costly

__all__ = ["SECONDS", "DateFormatter", "Sandbox", "TemplateError", "refuse_what_is_too_long", "too_costly"]
