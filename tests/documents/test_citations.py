"""Citations to sources that were put before a model: resolved as they come, invented ones marked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.documents import Citations, Cited, Found, Sources, consult, deletion_receipt, prefix_owner, uses_collection
from ouvert.documents.citations import NumberedSources

TEXT = "The rent is 840 pounds. The deposit is two months of rent. Pets are asked for."
SOURCES = tuple(
    Found(
        collection="contracts", document=f"d{n}", name=f"{n}.md", title="T", page=n, paged=True, start=100 * n,
        stop=100 * n + len(text), path=(), text=text,
    )
    for n, text in enumerate((TEXT, "Nothing."), 1)
)  # fmt: skip


def read(*pieces):
    citations = Citations(NumberedSources(SOURCES))
    out = [each for piece in pieces for each in citations.push(piece)] + citations.finish()
    return "".join(each for each in out if isinstance(each, str)), [e for e in out if isinstance(e, Cited)], citations


def test_a_number_resolves_to_the_sentence_that_was_meant():
    text, (found,), citations = read("You pay a deposit of two months [1].")
    assert text == "You pay a deposit of two months [1]."
    assert found.quote == "The deposit is two months of rent."
    assert (found.span.document, found.span.start) == ("d1", 100 + SOURCES[0].text.index("The deposit"))
    assert citations.facts["spans"][0]["digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("given", "shown", "counts"),
    [
        ("It is so [7].", "It is so [unsupported].", (1, 0, 1)),
        ("A[1][2] B [1, 2] C [2; 9]", "A[1][2] B [1][2] C [2][unsupported]", (6, 5, 1)),
        ("so【2】 and【1†3.md】, not【5†L2】", "so[2] and[1], not[unsupported]", (3, 2, 1)),
        ("a list [a, b] and [sic] and ]", "a list [a, b] and [sic] and ]", (0, 0, 0)),
        ("```python\nx = y[3]\n``` then [1]", "```python\nx = y[3]\n``` then [1]", (1, 1, 0)),
        ("an open [1", "an open [1", (0, 0, 0)),
        ("an open 【1†L", "an open [unsupported]", (1, 0, 1)),
        ("zero [0]", "zero [unsupported]", (1, 0, 1)),
    ],
)
def test_marks_are_resolved_or_marked_whatever_their_form(given, shown, counts):
    text, _, citations = read(given)
    assert text == shown
    assert tuple(citations.facts[name] for name in ("given", "resolved", "invented")) == counts


@given(st.text(alphabet="ab 12[]【】†L-,;`\n", max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_however_it_is_cut_it_is_read_alike_and_nothing_unfinished_is_shown(text, cuts):
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    whole, cited, citations = read(text)
    again, cited_again, citations_again = read(*pieces)
    assert (again, [c.facts for c in cited_again], citations_again.facts) == (
        whole,
        [c.facts for c in cited],
        citations.facts,
    )
    assert citations.given == len(cited) + citations.invented
    for each in cited:
        assert whole[each.first : each.last] == each.mark


def test_a_small_collection_goes_in_whole_and_a_large_one_in_passages(contracts):
    contracts.add("lease.md", b"# Lease\n\nThe deposit is 1,250 euro.\n\n## Pets\n\nA cat is allowed.\n")
    whole = consult([contracts], "Who may bring a parrot?", context=4096)
    assert (whole.whole, len(whole.found)) == (True, 2)
    assert "[2] lease.md › Lease › Pets\nPets\n\nA cat is allowed." in whole.prompt
    some = consult([contracts], "How much is the deposit?", context=4096, whole=5)
    assert (some.whole, [each.path for each in some.found]) == (False, [("Lease",)])
    assert consult([contracts], "Submarines?", context=4096, whole=5).found == ()
    assert consult([contracts], "deposit", context=4, whole=5).found == ()


def test_what_is_absent_is_said_in_the_language_of_the_question_and_counted():
    sources = Sources(("contracts",), "Quelle est la durée du préavis ?", SOURCES, whole=False)
    assert "Ce n’est pas dans les documents." in sources.prompt
    citing = sources.citing()
    citing.push("Ce n'est pas dans les documents")
    citing.finish()
    assert citing.facts["citations"]["absent"]
    assert citing.facts["documents"]["passages"][1]["document"] == "d2"
    assert not any("rent" in str(each) for each in citing.facts["documents"]["passages"])


def test_prompts_with_documents_are_kept_under_an_owner_of_their_own():
    owner = prefix_owner("key:anna", ["b", "a", "b"])
    assert owner == prefix_owner("key:anna", ["a", "b"])
    assert uses_collection(owner, "key:anna", "a")
    assert not uses_collection(owner, "key:ben", "a")
    assert not uses_collection(owner, "key:anna", "c")
    assert not uses_collection("key:anna", "key:anna", "a")
    assert deletion_receipt("a", [{"document": "x"}], kept_prompts=3)["kept_prompt_pages"] == 3
