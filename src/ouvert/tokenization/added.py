"""Tokens that are matched whole, before text is cut up."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# An added token with one of these in it is markup to a model: <think>, <|im_end|>, [/TOOL_RESULTS], ｜DSML｜, <dsml:.
MARKUP = frozenset("<>[]|｜")


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is matched as a whole before text is cut up.

    `control`: its text means it only in trusted template text, never in a user's. `hidden`: `decode` leaves it out.
    `strips_left`, `strips_right`: white space beside it belongs to it. `whole_word`: only between non-word characters.
    """

    id: int
    text: str
    control: bool
    hidden: bool
    strips_left: bool = False
    strips_right: bool = False
    whole_word: bool = False

    @property
    def pattern(self) -> str:
        pattern = re.escape(self.text)
        if self.whole_word:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        return (r"\s*" if self.strips_left else "") + pattern + (r"\s*" if self.strips_right else "")


def is_control(text: str, *, special: bool) -> bool:
    """Whether an added token must never come out of a user's text.

    Special tokens never; nor do those that vocabularies list as ordinary though they steer the model (<think>,
    <tool_call>, <｜User｜> are such): everything with a bracket or a bar in it. Added words and runs of spaces stay
    text.
    """
    return special or not MARKUP.isdisjoint(text)


def control_tokens(added: Iterable[AddedToken]) -> dict[str, int]:
    """Text to id of those that user text can never become."""
    return {token.text: token.id for token in added if token.control}
