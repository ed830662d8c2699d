"""The regular expressions of JSON schemas, in the syntax that llguidance reads (Rust's `regex` without look-around).

JSON Schema says ECMA-262; the two agree on most of what people write, and where they do not, a text could be let
through that the schema's author did not mean. So a pattern is read piece by piece, each piece is written in a form
that has one meaning, and a piece that has none is refused. Where dialects differ about white space or about digits and
letters outside ASCII (`\\s \\S \\d \\D \\w \\W`), a text holds only what all of them agree on.
"""

import re

# White space to ECMA-262, Python and Rust; to at least one of them; and to ECMA-262.
SPACES = r"\t-\r\x20\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"
SOME_SPACES = SPACES + r"\x1c-\x1f\u{85}\u{feff}"
ECMA_SPACES = SPACES + r"\u{feff}"
SOME_LETTERS = r"\p{L}\p{M}\p{N}\p{Pc}\u{200c}\u{200d}"


def sets(narrow: tuple[str, str, str], wide: tuple[str, str, str]) -> dict[str, str]:
    """Classes for digits, letters and white space; the negated ones leave out all of `wide`."""
    named = dict(zip("dws", (f"[{inside}]" for inside in narrow), strict=True))
    return named | dict(zip("DWS", (f"[^{outside}]" for outside in wide), strict=True))


ECMA = ("0-9", "0-9A-Za-z_", ECMA_SPACES)
ALL_AGREE = ("0-9", "0-9A-Za-z_", SPACES)
SOME_SAY = (r"\p{N}", SOME_LETTERS, SOME_SPACES)
AS_WRITTEN = sets(ECMA, ECMA)
NARROW = sets(ALL_AGREE, SOME_SAY)
WIDE = sets(SOME_SAY, ALL_AGREE)
LINE_ENDS = r"\n\r\u{2028}\u{2029}"
CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f", "v": r"\v"}
QUANTIFIER = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})\??")
HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
PROPERTY = re.compile(r"([pP])\{([A-Za-z_]+(?:=[A-Za-z_]+)?)\}")
NOTHING = ("(?:", "|", "^", "$")  # what a quantifier cannot repeat
NAMED = re.compile(r"\?<([A-Za-z_$][\w$]*)>")


class PatternError(Exception):
    """A pattern, or a piece of it, that cannot be held to. The message names the piece and its place."""


class Reader:
    def __init__(self, pattern: str, narrow: bool) -> None:
        self.pattern, self.at = pattern, 0
        self.sets = NARROW if narrow else AS_WRITTEN
        self.negated = WIDE if narrow else AS_WRITTEN  # the more is named, the less a negated class lets through

    def refuse(self, what: str) -> PatternError:
        return PatternError(f"{what} at character {self.at + 1} of the pattern {self.pattern!r:.120}")

    def take(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self.pattern, self.at)
        if found:
            self.at = found.end()
        return found


def translated(pattern: str, *, narrow: bool = True) -> str:
    """`narrow`: only what all dialects agree on; else what ECMA-262 says, no more and no less. Raises PatternError."""
    reader, written = Reader(pattern, narrow), []
    depth = 0
    while reader.at < len(pattern):
        match pattern[reader.at]:
            case "\\":
                written.append(escape(reader))
            case "[":
                written.append(character_class(reader))
            case "(":
                depth += 1
                written.append(group(reader))
            case ")":
                if not depth:
                    raise reader.refuse("a ) that closes nothing")
                depth -= 1
                written.append(")")
                reader.at += 1
            case ".":
                written.append(f"[^{LINE_ENDS}]")
                reader.at += 1
            case "*" | "+" | "?" | "{":
                found = reader.take(QUANTIFIER)
                if not found:
                    raise reader.refuse("a { that begins no quantifier")
                if not written or written[-1] in NOTHING or QUANTIFIER.fullmatch(written[-1]):
                    reader.at = found.start()
                    raise reader.refuse("a quantifier behind nothing")
                written.append(found[0])
            case "}" | "]":
                raise reader.refuse(f"a {pattern[reader.at]} that closes nothing")
            case "^" | "$" | "|" as sign:
                written.append(sign)
                reader.at += 1
            case sign:
                written.append(literal(sign))
                reader.at += 1
    if depth:
        raise reader.refuse("a group without its )")
    return "".join(written)


def group(reader: Reader) -> str:
    """The opening of a group; captures are of no interest."""
    reader.at += 1
    rest = reader.pattern[reader.at : reader.at + 3]  # not all of it: there may be thousands of groups
    if not rest.startswith("?"):
        return "(?:"
    if rest.startswith("?:"):
        reader.at += 2
        return "(?:"
    if reader.take(NAMED):
        return "(?:"
    if rest.startswith(("?=", "?!", "?<=", "?<!")):
        raise reader.refuse("look-around, which grammars cannot follow,")
    raise reader.refuse("a kind of group that JSON schemas do not have")


def escape(reader: Reader) -> str:
    """What stands behind a backslash outside of a class."""
    reader.at += 1
    name = reader.pattern[reader.at : reader.at + 1]
    if name and name in reader.sets:
        reader.at += 1
        return reader.sets[name]
    if name in ("b", "B"):
        raise reader.refuse("a word boundary, which grammars cannot follow,")
    if name.isdigit() and name != "0":
        raise reader.refuse("a back-reference, which grammars cannot follow,")
    return single(reader)


def single(reader: Reader) -> str:
    """One character behind a backslash, or a Unicode property."""
    name = reader.pattern[reader.at : reader.at + 1]
    if found := reader.take(HEX):
        code = int(found[1] or found[2] or found[3], 16)
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            raise reader.refuse(f"half a character, or none (U+{code:04X}),")
        return literal(chr(code))
    if found := reader.take(PROPERTY):
        return "\\" + found[0]
    if name in CONTROLS:
        reader.at += 1
        return CONTROLS[name]
    if name == "0" and not reader.pattern[reader.at + 1 : reader.at + 2].isdigit():
        reader.at += 1
        return r"\x00"
    if not name or name.isalnum() or name == "_":
        raise reader.refuse(f"\\{name}, which has no meaning that all share,")
    reader.at += 1
    return literal(name)


def character_class(reader: Reader) -> str:
    """[...], every member in a form that cannot be taken for an operation on sets."""
    opened = reader.at
    reader.at += 1
    negated = reader.pattern.startswith("^", reader.at)
    reader.at += negated
    members: list[str] = []
    while not reader.pattern.startswith("]", reader.at):
        if reader.at >= len(reader.pattern):
            reader.at = opened
            raise reader.refuse("a [ without its ]")
        low, one = member(reader, negated)
        if not reader.pattern.startswith("-", reader.at) or reader.pattern.startswith("-]", reader.at):
            members.append(low)
            continue
        reader.at += 1
        high, other = member(reader, negated)
        if not (one and other):
            raise reader.refuse("a range with an end that is no character")
        members.append(f"{low}-{high}")
    reader.at += 1
    if not members:
        reader.at = opened
        raise reader.refuse("an empty class")
    return f"[{'^' if negated else ''}{''.join(members)}]"


def member(reader: Reader, negated: bool) -> tuple[str, bool]:
    """One member of a class, and whether it is a single character."""
    sign = reader.pattern[reader.at : reader.at + 1]
    if sign != "\\":
        reader.at += 1
        return literal(sign), True
    reader.at += 1
    name = reader.pattern[reader.at : reader.at + 1]
    if name and name in reader.sets:
        reader.at += 1
        return (reader.negated if negated else reader.sets)[name], False
    if name == "b":
        reader.at += 1
        return r"\x08", True
    if name == "-":
        reader.at += 1
        return literal("-"), True
    written = single(reader)
    return written, not written.startswith((r"\p", r"\P"))


def literal(sign: str) -> str:
    """One character, and nothing else in any dialect."""
    return sign if sign.isascii() and sign.isalnum() else f"\\x{{{ord(sign):x}}}"
