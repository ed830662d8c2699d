"""GBNF, llama.cpp's grammars, written as Lark in llguidance's dialect: what both let through is the same.

llguidance reads a text in lexemes and takes the longest; GBNF knows characters only. So every character of a literal
becomes a lexeme of its own. (llguidance's script `gbnf_to_lark` makes whole words lexemes, and `word "end"` with
`word ::= [a-z]*` then has no text.) Read here: rules, literals, classes, `.`, groups, `* + ?`, `{2} {2,} {2,5}`,
comments, escapes. Not read: tokens (`<think>`), which only llama.cpp's own vocabulary knows.
"""

import re
from dataclasses import dataclass, field

from ouvert.engine.constraints.patterns import literal
from ouvert.engine.interface import EngineError

DEEPEST = 25  # groups inside groups; llguidance stops at about 30
NAME = re.compile(r"[A-Za-z0-9_-]+")
BLANK = re.compile(r"(?:[ \t]|#[^\n]*)*")
BLANK_OR_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
PLAIN = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "^": "^"}
REPEAT = re.compile(r"\{\s*(\d+)\s*(?:(,)\s*(\d*)\s*)?\}")


def lark_of(grammar: str) -> str:
    """Raises EngineError with line and column."""
    return Reader(grammar).lark()


@dataclass
class Reader:
    text: str
    at: int = 0
    depth: int = 0
    names: dict[str, tuple[int, int]] = field(default_factory=dict)  # of every rule: its number, its first place
    written: dict[str, str] = field(default_factory=dict)

    def wrong(self, what: str, at: int | None = None) -> EngineError:
        at = self.at if at is None else at
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        return EngineError(
            f"reading a GBNF grammar: line {line}, column {column}: {what}. It was given "
            f"{self.text[at : at + 30]!r} there; correct that place."
        )

    def take(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def next(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def lark(self) -> str:
        self.take(BLANK_OR_LINES)
        while self.at < len(self.text):
            self.rule()
            self.take(BLANK_OR_LINES)
        if "root" not in self.written:
            raise self.wrong("there is no rule `root`, expected one, with which texts begin")
        for name, (_, place) in self.names.items():
            if name not in self.written:
                raise self.wrong(
                    f"the rule {name!r} is used and nowhere defined, expected a line `{name} ::= ...`", place
                )
        return "".join(f"{self.rule_name(name)}: {body}\n" for name, body in self.written.items())

    def rule_name(self, name: str) -> str:
        """Rules of Lark are written small, so names are numbered."""
        return "start" if name == "root" else f"rule_{self.names[name][0]}"

    def rule(self) -> None:
        begun, found = self.at, self.take(NAME)
        if not found:
            raise self.wrong("expected the name of a rule")
        name = found[0]
        self.take(BLANK)
        if not self.next("::="):
            raise self.wrong("expected ::=")
        if name in self.written:
            raise self.wrong(f"the rule {name!r} is there already, expected each once", begun)
        self.names.setdefault(name, (len(self.names), begun))
        self.take(BLANK_OR_LINES)
        self.written[name] = self.alternatives()
        if self.at < len(self.text) and self.text[self.at] not in "\r\n":
            raise self.wrong("expected a literal, a class, a rule, a group, or the end of the line")

    def alternatives(self) -> str:
        options = [self.sequence()]
        while self.next("|"):
            self.take(BLANK_OR_LINES)
            options.append(self.sequence())
        return " | ".join(options)

    def sequence(self) -> str:
        items: list[str] = []
        blank = BLANK_OR_LINES if self.depth else BLANK
        while (item := self.item()) is not None:
            self.take(blank)
            items.append(self.repeated(item))
            self.take(blank)
        return " ".join(filter(None, items)) or '""'

    def item(self) -> str | None:
        if self.text.startswith('"', self.at):
            return self.word()
        if self.text.startswith("[", self.at):
            return self.character_class()
        if self.next("."):
            return "/(?s:.)/"
        if self.text.startswith("(", self.at):
            return self.group()
        begun = self.at
        if found := self.take(NAME):
            self.names.setdefault(found[0], (len(self.names), begun))
            return self.rule_name(found[0])
        return None

    def group(self) -> str:
        opened = self.at
        self.at += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong(f"a group {self.depth} deep in others, expected {DEEPEST} at most")
        self.take(BLANK_OR_LINES)
        inner = self.alternatives()
        if not self.next(")"):
            raise self.wrong("a ( without its )", opened)
        self.depth -= 1
        return f"({inner})"

    def repeated(self, item: str) -> str:
        for sign in "*+?":
            if self.next(sign):
                return f"{item}{sign}" if item else ""
        begun, found = self.at, self.take(REPEAT)
        if not found:
            return item
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most is not None and most < least:
            raise self.wrong(f"from {least} to {most} times, expected the smaller number first", begun)
        if not item or most == 0:
            return ""
        return f"{item}{{{least},{'' if most is None else most}}}"

    def word(self) -> str:
        opened = self.at
        self.at += 1
        signs: list[str] = []
        while not self.next('"'):
            if self.at >= len(self.text):
                raise self.wrong('a " without its second', opened)
            signs.append(f"/{literal(self.sign())}/")
        return f"({' '.join(signs)})" if len(signs) > 1 else "".join(signs)

    def character_class(self) -> str:
        opened = self.at
        self.at += 1
        negated = self.next("^")
        members: list[str] = []
        while not self.next("]"):
            if self.at >= len(self.text):
                raise self.wrong("a [ without its ]", opened)
            begun, low = self.at, self.sign()
            if self.text.startswith("-", self.at) and not self.text.startswith("-]", self.at):
                self.at += 1
                high = self.sign()
                if high < low:
                    raise self.wrong("a range that ends before it begins", begun)
                members.append(f"{literal(low)}-{literal(high)}")
            else:
                members.append(literal(low))
        if not members:
            raise self.wrong("an empty class, expected characters", opened)
        return f"/[{'^' if negated else ''}{''.join(members)}]/"

    def sign(self) -> str:
        """One character, an escape perhaps."""
        sign = self.text[self.at : self.at + 1]
        if sign != "\\":
            self.at += 1
            return sign
        self.at += 1
        if found := self.take(HEX):
            code = int(found[1] or found[2] or found[3], 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise self.wrong(f"U+{code:04X} is no character", found.start() - 1)
            return chr(code)
        name = self.text[self.at : self.at + 1]
        if name not in PLAIN or not name:
            raise self.wrong(f"\\{name} is no escape, expected one of {' '.join(PLAIN)} x u U", self.at - 1)
        self.at += 1
        return PLAIN[name]
