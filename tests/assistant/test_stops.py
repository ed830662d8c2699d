"""Stop strings: found wherever the text is cut, and never shown in part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.assistant.stops import StopStrings


def shown(stops, pieces):
    filtered = StopStrings(stops)
    text = "".join(filtered.push(piece) for piece in pieces)
    return text + filtered.flush(), filtered.found


def test_text_without_stop_strings_goes_straight_through():
    assert StopStrings([]).push("abc") == "abc"


def test_a_stop_string_across_pieces_is_never_shown():
    filtered = StopStrings(["\nUser:"])
    assert [filtered.push(piece) for piece in ["Hello", "\n", "Us", "er", ": hi", "more"]] == [
        "Hello",
        "",
        "",
        "",
        "",
        "",
    ]
    assert filtered.found == "\nUser:"


def test_what_only_looked_like_a_stop_string_is_shown_late():
    filtered = StopStrings(["END"])
    assert [filtered.push(piece) for piece in ["E", "N", "o"]] == ["", "", "ENo"]
    assert filtered.push("EN") == ""
    assert filtered.flush() == "EN"
    assert filtered.found is None


def test_a_stop_string_that_overlaps_itself_is_found():
    assert shown(["aab"], ["a", "a", "a", "b", "c"]) == ("a", "aab")


def test_the_one_that_starts_first_counts():
    assert shown(["b", "abc"], ["xab", "cd"]) == ("x", "abc")
    assert shown(["b", "abc"], ["xab", "d"]) == ("xa", "b")
    assert shown(["b", "abc"], ["xab"]) == ("xa", "b")


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StopStrings(["a", ""])


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.text("abc", max_size=3), max_size=12),
)
def test_it_does_not_matter_how_the_text_is_cut(stops, pieces):
    text = "".join(pieces)
    first = min(((at, stop) for stop in stops if (at := text.find(stop)) >= 0), key=lambda each: each[0], default=None)
    out, found = shown(stops, pieces)
    if first is None:
        assert (out, found) == (text, None)
    else:
        assert out == text[: first[0]]
        assert found is not None
        assert text.startswith(found, first[0])


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.text("abc", max_size=20))
def test_nothing_shown_is_ever_taken_back(stops, text):
    filtered = StopStrings(stops)
    out = ""
    for character in text:
        out += filtered.push(character)
        assert text.startswith(out)
        assert not any(stop in out for stop in stops)
