"""A template, compiled, and run within the limits."""

from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import meta

from ouvert.chat.owned_text import OwnedText, joined
from ouvert.chat.sandbox.budget import BUDGET, SECONDS, Budget, TooCostlyError
from ouvert.chat.sandbox.environment import Environment, RefusalError

SOURCE_LIMIT = 256 * 1024  # characters of a template; the longest in use are about 20 thousand
REMEDY = (
    "use another: --template builtin, or --template FILE.jinja (ouvert.load(template=...); `template` in the "
    "configuration file)"
)


class TemplateError(Exception):
    """A chat template cannot be used, or refused the conversation. The message says which and what to do."""


def sentence(problem: Exception) -> str:
    """What an exception says, as a sentence, in Python's names."""
    return str(problem)[:1000].replace("'OwnedText' object", "'str' object").rstrip(".") + "."


class Sandbox:
    """A compiled template. `variables` are the names it reads."""

    def __init__(self, source: str) -> None:
        """Raises TemplateError if the text is no template, or one that asks for what is not offered."""
        refuse_what_is_too_long(source)
        environment = Environment()
        try:
            self.template = environment.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except Exception as problem:  # a stranger's text may break the compiler in any way; nothing is hidden
            raise TemplateError(
                f"compiling a chat template of {len(source)} characters: {problem} ({type(problem).__name__}). "
                f"Expected a Jinja template of the kind transformers uses; {REMEDY}."
            ) from problem

    def render(self, variables: Mapping[str, Any], supplied: int, seconds: float = SECONDS) -> OwnedText:
        """A prompt. `supplied` is the number of characters in the conversation; texts of unknown owner in `variables`
        count as from outside.

        Raises TemplateError when the template refuses the conversation, fails, or costs too much.
        """
        budget = Budget(supplied, seconds)
        pieces: list[str] = []
        try:
            for piece in self.template.generate({**variables, BUDGET: budget}):
                budget.output -= len(piece)
                if budget.output < 0:
                    raise TooCostlyError("its prompt is far longer than the conversation")
                pieces.append(piece)
        except TooCostlyError as problem:
            raise too_costly(str(problem)) from problem
        except MemoryError as problem:
            raise too_costly("it takes more memory than any chat template needs") from problem
        except RefusalError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: it refused this conversation: "
                f"{sentence(problem)} Change the conversation as it asks, or {REMEDY}."
            ) from problem
        except jinja2.exceptions.SecurityError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: it asks for what templates are not offered: "
                f"{sentence(problem)} It is broken or hostile; {REMEDY}."
            ) from problem
        except Exception as problem:  # any failure of a stranger's program ends here, with its name
            raise TemplateError(
                f"writing a prompt with the model's chat template: it failed with {type(problem).__name__}: "
                f"{sentence(problem)} It may expect other fields; {REMEDY}."
            ) from problem
        return joined(pieces)


def refuse_what_is_too_long(source: str) -> None:
    """Raises TemplateError."""
    if len(source) > SOURCE_LIMIT:
        raise TemplateError(
            f"compiling a chat template: it has {len(source)} characters, at most {SOURCE_LIMIT} are allowed. "
            f"It is no chat template; {REMEDY}."
        )


def too_costly(why: str) -> TemplateError:
    return TemplateError(
        f"writing a prompt with the model's chat template: stopped, because {why}. "
        f"The template is broken or hostile; {REMEDY}."
    )
