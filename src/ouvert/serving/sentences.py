"""What a client reads of an error from below: its message without the paths of this machine, which the log has."""

import logging
import re
from functools import lru_cache
from pathlib import PurePath

LOG = logging.getLogger("ouvert.serving")

# An absolute path as messages write one: at the beginning, after a space or a quotation mark. A folder's name may have
# spaces, but no mark of punctuation before one: that is where a path ends and the sentence goes on.
PATH = re.compile(
    r"""(?:(?<=[\s'"`(=<])|^)~?/(?=[^\s/])(?:(?:(?![:,;.)]\s)[^/\n'"`])*[^/\s'"`]/+)*[^\s/'"`:;,)]*""", re.MULTILINE
)


def sentence_of(problem: Exception) -> str:
    """The message of an error as a client may read it: of every path the last name alone. Where that is less than the
    message, the log gets the whole. Raises nothing."""
    whole = str(problem)
    sentence = without_folders(whole)
    if sentence != whole:
        log_once(whole)
    return sentence


def without_folders(text: str) -> str:
    """Raises nothing."""
    return PATH.sub(lambda found: PurePath(found[0]).name, text)


@lru_cache(maxsize=1024)
def log_once(message: str) -> None:
    """The page asks every few seconds how the models are: the log does not repeat what it said."""
    LOG.warning("%s", message)
