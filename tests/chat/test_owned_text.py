"""Text with owners is the text it would be without them; and nobody's text becomes the template's."""

import json
import pickle
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat.owned_text import (
    TEMPLATE,
    UNTRACED,
    OwnedFloat,
    OwnedInt,
    OwnedText,
    coarse,
    joined,
    merged,
    plain,
    whole,
)
from ouvert.chat.written import JsonWriter, brace_format, described, percent_format, written

# Every owner has letters of its own, so that each character of a result says whose it should be.
ALPHABETS = {TEMPLATE: "ABC <|>", 1: 'abc\n"é', 2: "12\t'\\🙂"}
OWNER_OF = {character: owner for owner, alphabet in ALPHABETS.items() for character in alphabet}
runs = st.sampled_from(list(ALPHABETS)).flatmap(
    lambda owner: st.text(st.sampled_from(ALPHABETS[owner]), max_size=4).map(lambda text: whole(text, owner))
)
texts = st.lists(runs, max_size=6).map(joined)
small = st.integers(-5, 9)

MOVED = {  # characters keep their owners wherever they go
    "a character": lambda a, b, i, j: a[i] if -len(a) <= i < len(a) else a,
    "a slice": lambda a, b, i, j: a[i:j],
    "a slice with steps": lambda a, b, i, j: a[i : j : (i or 1)],
    "backwards": lambda a, b, i, j: a[::-1],
    "strip": lambda a, b, i, j: a.strip(),
    "strip of letters": lambda a, b, i, j: a.strip(b[:2]) if b else a,
    "lstrip": lambda a, b, i, j: a.lstrip(),
    "rstrip": lambda a, b, i, j: a.rstrip("cé"),
    "removeprefix": lambda a, b, i, j: a.removeprefix(b[:1]),
    "removesuffix": lambda a, b, i, j: a.removesuffix(b[:1]),
    "split": lambda a, b, i, j: a.split(),
    "split once": lambda a, b, i, j: a.split(maxsplit=1),
    "split at": lambda a, b, i, j: a.split(b[:1] or "A", i),
    "rsplit": lambda a, b, i, j: a.rsplit(None, i),
    "rsplit at": lambda a, b, i, j: a.rsplit(b[:2] or "A", i),
    "splitlines": lambda a, b, i, j: a.splitlines(),
    "splitlines with ends": lambda a, b, i, j: a.splitlines(True),
    "partition": lambda a, b, i, j: a.partition(b or "A"),
    "rpartition": lambda a, b, i, j: a.rpartition(b or "A"),
    "plus": lambda a, b, i, j: a + b,
    "times": lambda a, b, i, j: a * i,
    "times from the left": lambda a, b, i, j: i * a,
    "join": lambda a, b, i, j: a.join([b, a, b]),
    "replace": lambda a, b, i, j: a.replace(b[:1] or "A", b, i),
    "letters": lambda a, b, i, j: list(a),
    "letters from behind": lambda a, b, i, j: list(reversed(a)),
    "ljust": lambda a, b, i, j: a.ljust(9),
    "rjust": lambda a, b, i, j: a.rjust(9),
    "center": lambda a, b, i, j: a.center(9),
}
CHANGED = {  # no character can be followed for sure: what is not certain counts as from outside
    "upper": lambda a, b, i, j: a.upper(),
    "lower": lambda a, b, i, j: a.lower(),
    "title": lambda a, b, i, j: a.title(),
    "capitalize": lambda a, b, i, j: a.capitalize(),
    "swapcase": lambda a, b, i, j: a.swapcase(),
    "casefold": lambda a, b, i, j: a.casefold(),
    "zfill": lambda a, b, i, j: a.zfill(9),
    "replace nothing": lambda a, b, i, j: a.replace("", b),
    "center with letters": lambda a, b, i, j: a.center(9, b[0] if b else "x"),
    "encode and back": lambda a, b, i, j: a.expandtabs(3),
}


def flat(value):
    return [value] if isinstance(value, str) else list(value)


def characters(text):
    owners = [owner for length, owner in getattr(text, "runs", ((len(text), UNTRACED),)) for _ in range(length)]
    assert len(owners) == len(text)
    return list(zip(plain(text), owners, strict=True))


@pytest.mark.parametrize("name", [*MOVED, *CHANGED])
@settings(max_examples=10, deadline=None)
@given(a=texts, b=texts, i=small, j=small)
def test_the_text_is_what_it_would_be_without_owners(name, a, b, i, j):
    operation = {**MOVED, **CHANGED}[name]
    found = flat(operation(a, b, i, j))
    assert list(map(plain, found)) == flat(operation(plain(a), plain(b), i, j))
    for text in found:
        for character, owner in characters(text):
            if name in MOVED:
                assert owner == OWNER_OF[character]
            elif character not in ALPHABETS[TEMPLATE] + string.ascii_letters + "0x":
                assert owner != TEMPLATE


@pytest.mark.parametrize("name", [*MOVED, *CHANGED])
def test_what_somebody_else_supplied_never_becomes_the_templates(name):
    a, b = whole("aß b\nc ﬁ İ", 1), whole("b", 1)
    for i in range(-3, 6):
        for text in flat({**MOVED, **CHANGED}[name](a, b, i, i + 2)):
            assert all(owner != TEMPLATE for character, owner in characters(text) if character != " ")


def test_owners_travel_between_processes():
    text = joined([whole("ab", 1), whole("c", TEMPLATE)])
    back = pickle.loads(pickle.dumps([text, OwnedInt(7, 2), OwnedFloat(0.5, 3)]))
    assert (back, back[0].runs, back[1].owner, back[2].owner) == (["abc", 7, 0.5], text.runs, 2, 3)


def test_texts_of_unknown_owner_count_as_from_outside():
    assert joined([whole("a", TEMPLATE), "b"]).runs == ((1, TEMPLATE), (1, UNTRACED))
    assert coarse("x", whole("a", TEMPLATE), "b").runs == ((1, UNTRACED),)
    assert coarse("x", [whole("a", TEMPLATE), {"k": whole("b", 3)}]).runs == ((1, UNTRACED),), "the key has no owner"
    assert coarse("x", whole("a", TEMPLATE), OwnedInt(1, 3)).runs == ((1, 3),)
    assert merged([(1, 1), (0, 2), (2, 1)]) == ((3, 1),)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.integers(), inner, max_size=3)
        | st.tuples(inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


def plainly(value):
    match value:
        case str():
            return plain(value)
        case list():
            return [plainly(each) for each in value]
        case tuple():
            return tuple(plainly(each) for each in value)
        case dict():
            return {plainly(key): plainly(each) for key, each in value.items()}
    return value


def safe(text):
    """Whether no character that only others have is the template's."""
    others = set("".join(ALPHABETS[owner] for owner in (1, 2))) - set("12 \t\n'\"\\")
    return all(owner != TEMPLATE for character, owner in characters(text) if character in others - set("abcn"))


@settings(max_examples=30, deadline=None)
@given(value=values)
def test_values_look_as_python_shows_them(value):
    for ours, pythons in ((written, str), (described, repr)):
        assert plain(ours(value)) == pythons(plainly(value))
        assert safe(ours(value))
    if isinstance(value, dict):
        assert plain(written(value.items())) == str(plainly(value).items())
        assert plain(written(value.keys())) == str(plainly(value).keys())


@settings(max_examples=30, deadline=None)
@given(
    value=values,
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    separators=st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
def test_json_is_what_python_writes(value, ensure_ascii, indent, separators):
    settings_ = {"ensure_ascii": ensure_ascii, "indent": indent, "separators": separators}
    writer = JsonWriter(lambda amount: None, sort_keys=False, **settings_)
    assert plain(writer.text(value)) == json.dumps(plainly(value), **settings_)
    assert safe(writer.text(value))


def test_json_refuses_what_python_refuses():
    writer = JsonWriter(lambda amount: None, ensure_ascii=True, indent=None, separators=None, sort_keys=True)
    assert writer.text({"b": 1, "a": {}}) == '{"a": {}, "b": 1}'
    with pytest.raises(TypeError, match="Object of type object is not JSON serializable"):
        writer.text([object()])
    with pytest.raises(TypeError, match="keys must be str, int, float, bool or None, not tuple"):
        writer.text({(1,): 1})


FORMATS = ["%s", "%r|", "<%5s>", "%-6s|", "%.2s", "%%%s", "%5.1s%%", "no field at all"]


@settings(max_examples=30, deadline=None)
@given(form=st.lists(st.sampled_from(FORMATS[:-1]), min_size=1, max_size=3).map("".join), given_values=st.data())
def test_percent_formats_are_pythons(form, given_values):
    arguments = tuple(given_values.draw(values) for _ in range(form.replace("%%", "").count("%")))
    found = percent_format(whole(form, TEMPLATE), arguments)
    assert plain(found) == form % plainly(arguments)
    assert safe(found)


def test_owners_survive_formats():
    form, name = whole("<|%s|>%d", TEMPLATE), whole("im_end", 1)
    assert percent_format(form, (name, 5)).runs == ((2, TEMPLATE), (6, 1), (3, TEMPLATE))
    assert percent_format(whole("%(a)s!", TEMPLATE), {"a": name}).runs == ((6, 1), (1, TEMPLATE))
    found = brace_format(whole("<|{}|>{b:>3}", TEMPLATE), "<|im_end|>  5", (name,), {"b": OwnedInt(5, 2)})
    assert found.runs == ((2, TEMPLATE), (6, 1), (2, TEMPLATE), (3, 2))
    with pytest.raises(TypeError, match="not enough arguments"):
        percent_format(form, (name,))


def test_markup_escapes_what_it_is_added_to():
    from markupsafe import Markup

    assert OwnedText("<", ((1, 1),)) + Markup("<b>") == "&lt;<b>"
