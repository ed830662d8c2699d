"""How the process is started in which strangers' templates run. It is one command, so that a guard can know it."""

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def renderer_command() -> tuple[str, ...]:
    """Nothing of the user's environment, and no more of Python than it needs.

    Raises ModuleNotFoundError where Jinja2 is missing.
    """
    folders = [Path(__file__).parents[2]]
    for library in ("jinja2", "markupsafe"):
        spec = find_spec(library)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"rendering a chat template: {library} is missing. Install Ouvert again.")
        folders.append(Path(spec.origin).parents[1])
    listed = list(dict.fromkeys(map(str, folders)))
    program = f"import sys; sys.path += {listed!r}; from ouvert.chat.renderer_process import main; main()"
    return (sys.executable, "-I", "-S", "-c", program)
