"""Tool calls that a model writes without the marks of its syntax: the whole answer is the JSON of a call.

Small models do: `{"name": …, "arguments": {…}}`, the same with "parameters", in a fence, or several in a list or one
below the other; and with the outer braces doubled, as Qwen2.5-Coder's template shows them by mistake. Such an answer is
read as calls where every name is declared and all arguments are valid. Text is held back only as long as it may still
become that.
"""

from collections.abc import Callable, Collection
from typing import Literal

from ouvert.chat.json_scanner import SPACE, JSONScanner
from ouvert.chat.tool_syntax import WrittenCall, call_of, members

ARGUMENTS = ("arguments", "parameters")
KEYS = frozenset({"name", "id", "type", "function", *ARGUMENTS})
FENCE = "```"
FENCED = ("", "json", "tool_call", "tool_calls")  # what may stand behind the opening of a fence


class CallScanner:
    """The JSON object of one call of a declared tool, character by character."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._scanner = JSONScanner(self._member, self._text)
        self._wrapped = False  # {"type": "function", "function": {"name": …, "arguments": …}}
        self._named = self._arguments = False

    def push(self, sign: str) -> bool:
        """Whether it may still become such an object."""
        return (self._scanner.begun or sign == "{") and self._scanner.push(sign)

    @property
    def complete(self) -> bool:
        return self._scanner.complete

    @property
    def clear(self) -> bool:
        """Whether it cannot be meant as anything else: it has the name of a tool, and arguments have begun."""
        return self._named and self._arguments

    def _member(self, depth: int, key: str) -> bool:
        if depth != 1 + self._wrapped and not (depth == 1 and self._wrapped):
            return True
        if depth == 1 and key == "function":
            self._wrapped = True
        self._arguments |= key in ARGUMENTS
        return key in KEYS

    def _text(self, depth: int, key: str, beginning: str, whole: bool) -> bool:
        if key == "type" and depth == 1:
            return beginning == "function" if whole else "function".startswith(beginning)
        if key != "name" or depth != 1 + self._wrapped:
            return True
        self._named |= whole and beginning in self._names
        return beginning in self._names if whole else any(name.startswith(beginning) for name in self._names)


class CallRow:
    """Objects of calls one after the other, white space or semicolons between them: all of Llama's answer."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._scanner: CallScanner | None = None
        self._calls = 0

    def push(self, sign: str) -> bool:
        """Whether it may still become that. False is final."""
        if self._scanner is None or self._scanner.complete:
            if sign in SPACE or (sign == ";" and self._calls):
                return True
            self._scanner, self._calls = CallScanner(self._names), self._calls + 1
        return self._scanner.push(sign)

    @property
    def clear(self) -> bool:
        """Whether the beginning of a call stands at the end, and cannot be meant as anything else."""
        return self._scanner is not None and (self._calls > 1 or self._scanner.clear)


def read_untagged(text: str) -> WrittenCall | None:
    """The call whose JSON object is the whole text."""
    found = members(text)
    if found is None or text[found[1] :].strip(SPACE):
        return None
    outer = found[0]
    if "function" in outer:
        inner = members(outer["function"])
        if inner is None or not outer.keys() <= {"id", "type", "function"}:
            return None
        outer = inner[0]
    if not outer.keys() <= KEYS - {"function"} or len(outer.keys() & set(ARGUMENTS)) != 1:
        return None
    return call_of(outer, ARGUMENTS)


class UntaggedCalls:
    """An answer's text, in pieces as they come. Its methods and properties raise nothing, whatever they are given."""

    def __init__(self, names: Collection[str], valid: Callable[[WrittenCall], bool]) -> None:
        """`names` are those of the declared tools; `valid` says whether a call's arguments follow its tool's schema."""
        self._names, self._valid = names, valid
        self._held = ""  # all of the answer, until it is decided
        self._place: Literal["head", "fence", "object", "doubled", "between", "closing", "tail", "text"] = "head"
        self._word = ""  # behind the opening of a fence
        self._fenced = self._listed = self._more = self._doubled = False
        self._scanner: CallScanner | None = None
        self._started = 0  # where the object begins, in what is held
        self._calls: list[WrittenCall] = []

    @property
    def undecided(self) -> bool:
        """Whether the text may still become calls."""
        return self._place != "text"

    def push(self, text: str) -> str:
        """The text that is certainly no call."""
        if self._place == "text":
            return text
        for n, sign in enumerate(text, start=1):
            self._held += sign
            if not self._step(sign):
                return self.give_up() + text[n:]
        return ""

    def give_up_what_is_held(self) -> str:
        """Something else than text comes: if there was text already, it is not the whole answer."""
        return self.give_up() if self._held else ""

    def give_up(self) -> str:
        """All that is held is text."""
        held, self._held, self._place = self._held, "", "text"
        return held

    def finish(self, *, cut: bool) -> tuple[str, list[WrittenCall]]:
        """What the answer was: text, or calls. `cut`: it did not end by itself. A call that was cut off is neither."""
        if self._place == "text":
            return "", []
        whole = bool(self._calls) and self._place in ("doubled", "between", "closing", "tail") and not self._listed
        begun = cut and (bool(self._calls) or (self._scanner is not None and self._scanner.clear))
        text = self.give_up()
        return ("", self._calls) if whole or begun else (text, [])

    def _step(self, sign: str) -> bool:
        """Take one more character. False: it is no call."""
        match self._place:
            case "head":
                return self._step_head(sign)
            case "fence":
                return self._step_fence(sign)
            case "object":
                return self._step_object(sign)
            case "doubled":
                return self._step_doubled(sign)
            case "between" | "closing":
                return self._step_between(sign)
        return sign in SPACE

    def _step_head(self, sign: str) -> bool:
        if sign == "{":
            self._begin_object()
            return self._step_object(sign)
        if sign == "[" and not self._listed:
            self._listed = True
            return True
        if sign == "`" and not self._fenced and not self._listed and not self._held[:-1].strip(SPACE):
            self._place, self._word = "fence", sign
            return True
        return sign in SPACE

    def _step_fence(self, sign: str) -> bool:
        """The opening of a fence, with the word behind it; where calls stand already, its end."""
        if self._calls:
            self._word += sign
            if self._word == FENCE:
                self._place = "tail"
            return FENCE.startswith(self._word)
        if sign in "\n[{ " and self._word.removeprefix(FENCE) in FENCED and self._word.startswith(FENCE):
            self._place, self._fenced = "head", True
            return self._step_head(sign)
        self._word += sign
        return FENCE.startswith(self._word) or any((FENCE + word).startswith(self._word) for word in FENCED)

    def _begin_object(self) -> None:
        self._place, self._more, self._doubled = "object", False, False
        self._scanner, self._started = CallScanner(self._names), len(self._held) - 1

    def _step_object(self, sign: str) -> bool:
        if sign == "{" and len(self._held) - 1 == self._started + 1 and not self._doubled:
            self._begin_object()
            self._doubled = True
        if self._scanner is None or not self._scanner.push(sign):
            return False
        if not self._scanner.complete:
            return True
        call = read_untagged(self._held[self._started :])
        if call is None or call.name not in self._names or not self._valid(call):
            return False
        self._calls.append(call)
        self._place, self._scanner = "doubled" if self._doubled else "between", None
        return True

    def _step_doubled(self, sign: str) -> bool:
        """After an object whose first brace was doubled: read its last one again."""
        if sign == "}":
            self._place = "between"
        return sign == "}" or sign in SPACE

    def _step_between(self, sign: str) -> bool:
        """After an object: read another one, or the end of the list, or of the fence."""
        if sign in SPACE:
            return True
        if sign == "`" and self._fenced and not self._listed:
            self._place, self._word = "fence", sign
            return True
        if self._place == "closing":
            return False
        if sign == "{" and (self._more or not self._listed):
            self._begin_object()
            return self._step_object(sign)
        if sign == ("," if self._listed else ";") and not self._more:
            self._more = self._listed  # a comma has to be followed by something
            return True
        if sign == "]" and self._listed and not self._more:
            self._listed, self._place = False, "closing"
            return True
        return False
