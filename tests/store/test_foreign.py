"""What a hub or a package says of itself is shown as text and nothing else."""

import pytest

from ouvert.store.foreign import foreign_text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("\x1b[31mMIT\x1b]0;owned\x07", "[31mMIT ]0;owned"),
        ("a\u202ecod.exe\u2028b\r\nc", "a cod.exe b c"),
        (["mit", {"a": 1}, "apache-2.0"], "mit, apache-2.0"),
        ({"name": "mit"}, None),
        (5, None),
        ("\x00", None),
        ("x" * 10_000, "x" * 200),
        ("Licence Ouverte 2.0 é", "Licence Ouverte 2.0 é"),
    ],
)
def test_foreign_text_is_a_plain_line(given, shown):
    assert foreign_text(given) == shown
