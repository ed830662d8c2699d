"""A JSON text read character by character: whether it may still become one, and which members it has so far."""

import json
import re
from collections.abc import Callable

SPACE = " \t\r\n"
DEEPEST = 200  # objects and arrays inside one another; a text that goes deeper is none here
# What numbers and words may look like while they are being written, and when they are whole.
SCALAR_BEGINNING = re.compile(
    r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:(?<=\d)[eE][+-]?\d*)?)?|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?"
)
SCALAR = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
LONGEST_SCALAR = 400
LONGEST_SHOWN = 200
HEX = frozenset("0123456789abcdefABCDEF")


class JSONScanner:
    """One JSON value. `push` gives characters to it; after `complete` only white space may follow.

    `member(depth, key)` is called when a member's name is whole, `text(depth, key, beginning, whole)` for the value of
    a member that is a string, as it is written and as far as it has come; both say whether to go on. `depth` is 1 for
    the outermost object. Of strings longer than 200 characters only the beginning is shown.
    """

    def __init__(
        self,
        member: Callable[[int, str], bool] = lambda depth, key: True,
        text: Callable[[int, str, str, bool], bool] = lambda depth, key, beginning, whole: True,
    ) -> None:
        self.begun = self.complete = False
        self._member, self._text = member, text
        self._open: list[str] = []  # "{" or "["
        self._keys: list[str] = []  # the member one is in, for every open bracket
        self._want = "value"
        self._string: list[str] | None = None  # the characters of a string as they are written
        self._escape = 0  # characters of an escape that are still to come
        self._scalar = ""

    def push(self, sign: str) -> bool:
        """Whether the text may still become a JSON value. False is final: nothing more may be given."""
        self.begun = True
        if self._string is not None:
            return self._push_string(sign)
        if self._scalar:
            longer = self._scalar + sign
            if len(longer) <= LONGEST_SCALAR and SCALAR_BEGINNING.fullmatch(longer):
                self._scalar = longer
                return True
            if not SCALAR.fullmatch(self._scalar):
                return False
            self._scalar = ""
            self._value_ends()
        if sign in SPACE:
            return True
        return not self.complete and self._push_structure(sign)

    def _push_structure(self, sign: str) -> bool:
        want = self._want
        match sign:
            case '"' if want in ("value", "key", "first key", "first item"):
                self._string = []
            case "{" | "[" if want in ("value", "first item") and len(self._open) < DEEPEST:
                self._open.append(sign)
                self._keys.append("")
                self._want = "first key" if sign == "{" else "first item"
            case "}" if want in ("first key", "more") and self._open[-1:] == ["{"]:
                self._close()
            case "]" if want in ("first item", "more") and self._open[-1:] == ["["]:
                self._close()
            case "," if want == "more":
                self._want = "key" if self._open[-1] == "{" else "value"
            case ":" if want == "colon":
                self._want = "value"
            case _ if want in ("value", "first item") and SCALAR_BEGINNING.fullmatch(sign):
                self._scalar = sign
            case _:
                return False
        return True

    def _push_string(self, sign: str) -> bool:
        assert self._string is not None  # noqa: S101 - asked before
        if self._escape:
            self._escape = 4 if self._escape == -1 and sign == "u" else 0 if self._escape == -1 else self._escape - 1
            if self._string[-1] == "\\" and sign not in '"\\/bfnrtu':
                return False
            if self._string[-1] != "\\" and sign not in HEX:
                return False
            self._string.append(sign)
            return True
        if sign < " ":
            return False
        if sign == '"':
            return self._string_ends()
        self._string.append(sign)
        self._escape = -1 if sign == "\\" else 0
        return self._want in ("key", "first key") or self._offer(whole=False)

    def _offer(self, *, whole: bool) -> bool:
        if not self._open or self._open[-1] != "{" or self._string is None or len(self._string) > LONGEST_SHOWN:
            return True
        return self._text(len(self._open), self._keys[-1], "".join(self._string), whole)

    def _string_ends(self) -> bool:
        assert self._string is not None  # noqa: S101 - asked before
        if self._want in ("key", "first key"):
            key = json.loads(f'"{"".join(self._string)}"')
            self._string, self._want, self._keys[-1] = None, "colon", key
            return self._member(len(self._open), key)
        goes_on = self._offer(whole=True)
        self._string = None
        self._value_ends()
        return goes_on

    def _close(self) -> None:
        self._open.pop()
        self._keys.pop()
        self._value_ends()

    def _value_ends(self) -> None:
        self.complete = not self._open
        self._want = "more"
