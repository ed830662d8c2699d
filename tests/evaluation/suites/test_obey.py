import pytest

from ouvert.evaluation.suites.obey.checks import CHECKS, keeps, sentences
from ouvert.evaluation.suites.obey.values import VALUES

# By kind: the instruction's values, answers that keep it, and answers that nearly do.
CASES = {
    "words-at-most": (
        {"n": 6},
        ["The sea is blue and wide.", "It - really - is blue", "L'eau de la mer est bleue."],
        ["The sea is blue and very wide."],
    ),
    "words-exactly": (
        {"n": 4},
        ["The sea is blue.", "the sea is — blue!", "J'ai vu la mer."],
        ["The sea is", "The sea is very blue.", "The sea\nis very blue"],
    ),
    "sentences": (
        {"n": 2},
        [
            "It is blue. It is wide.",
            "Is it blue? Yes it is!",
            "Elle est bleue… Elle est large.",
            '"Blue." So they say.',
        ],
        ["It is blue and wide.", "It is blue. It is wide. I like it.", "It is blue. It is wide. And"],
    ),
    "lowercase": (
        {},
        ["the sea is blue.", "l'été, la mer est bleue."],
        ["The sea is blue.", "the sea is Blue.", "l'Été est là"],
    ),
    "uppercase": (
        {},
        ["THE SEA IS BLUE.", "L'ÉTÉ EST LÀ, 12 FOIS."],
        ["The sea is blue.", "THE SEA IS BLUe.", "L'éTÉ EST LÀ"],
    ),
    "include": (
        {"first": "river", "second": "quiet"},
        ["The river is quiet.", "Quiet, so quiet: a River."],
        ["The river is wide.", "The rivers are quiet.", "The riverside is quietly green."],
    ),
    "avoid": ({"word": "the"}, ["A sea is blue.", "They see water there."], ["The sea is blue.", "All of the sea."]),
    "letter": (
        {"letter": "a"},
        ["The hour is blue.", "Il pleut ici."],
        ["The sea is blue.", "It is blue, A.", "Il est déjà là."],  # an accent does not make another letter
    ),
    "begin": (
        {"phrase": "À mon avis"},
        ["À mon avis, c'est beau.", "À mon avis c'est beau."],
        [
            "Oui. À mon avis, c'est beau.",
            "À mon avisé conseil, non.",
            "A mon avis, c'est beau.",
            '"À mon avis", dit-il.',
        ],
    ),
    "end": (
        {"phrase": "C'est tout."},
        ["La mer est là. C'est tout.", "La mer est là. C’est tout."],
        ["La mer est là. C'est tout. Voilà.", "La mer est là. C'est tout", "C'est tout. La mer est là."],
    ),
    "bullets": (
        {"n": 3},
        ["- one\n- two\n- three", "- one\n\n- two\n\n- three\n"],
        [
            "- one\n- two",
            "Here:\n- one\n- two\n- three",
            "* one\n* two\n* three",
            "-one\n-two\n-three",
            "- one\n- two\n-  ",
        ],
    ),
    "numbered": (
        {"n": 3},
        ["1. one\n2. two\n3. three", "1. one\n\n2. two\n\n3. three"],
        ["1. one\n2. two", "1. one\n3. two\n2. three", "1) one\n2) two\n3) three", "Here:\n1. one\n2. two\n3. three"],
    ),
    "title": (
        {},
        ["<<Blue>>\nThe sea is blue.", "<<The blue sea>>\n\nThe sea is blue."],
        [
            "Blue\nThe sea is blue.",
            "<<Blue and wide>>",
            "<Blue>\nThe sea is blue.",
            "The sea.\n<<Blue>>",
            "<< >>\nThe sea is blue.",
        ],
    ),
    "json": (
        {"first": "mood", "second": "place"},
        ['{"mood": "calm and", "place": "here"}', '{\n "place": "here", "mood": "very calm"}'],
        [
            '{"mood": "calm", "place": "here", "more": "x"}',
            '{"mood": "calm and blue"}',
            '{"mood": "calm", "place": 3}',
            '{"mood": "calm", "place": ""}',
            '```json\n{"mood": "calm", "place": "here"}\n```',
            'Here it is: {"mood": "calm", "place": "here"}',
        ],
    ),
}


def test_there_are_fourteen_kinds_and_cases_for_each():
    assert len(CHECKS) == 14
    assert CHECKS.keys() == VALUES.keys() == CASES.keys()


@pytest.mark.parametrize(("kind", "answer"), [(kind, each) for kind, (_, right, _) in CASES.items() for each in right])
def test_an_answer_that_keeps_the_instruction_is_right(kind, answer):
    assert CHECKS[kind](answer.strip(), CASES[kind][0])


@pytest.mark.parametrize(("kind", "answer"), [(kind, each) for kind, (_, _, wrong) in CASES.items() for each in wrong])
def test_an_answer_that_nearly_keeps_it_is_wrong(kind, answer):
    assert not CHECKS[kind](answer.strip(), CASES[kind][0])


def test_a_copy_of_the_instruction_keeps_nothing():
    request = "Write about the sea with the words river and quiet."
    values = CASES["include"][0] | {"request": request}
    assert not keeps("include", f"Sure! {request.upper()}", values)


@pytest.mark.parametrize(("text", "kept"), [("blue", False), ("it is blue and wide", True), ("blue sea " * 151, False)])
def test_an_answer_of_hardly_a_word_or_a_very_long_one_keeps_nothing(text, kept):
    assert keeps("lowercase", text, {"request": "do it"}) is kept


def test_few_words_are_enough_where_few_are_asked_for():
    assert keeps("words-at-most", "Blue and wide.", {"n": 6, "request": "do it"})
    assert not keeps("words-at-most", "Blue sea.", {"n": 6, "request": "do it"})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One.", 1),
        ("One", 1),
        ("One. Two", 2),
        ("At 3.5 km. Yes.", 2),
        ("Vraiment ? Oui !", 2),
        ("Wait... what?", 2),
    ],
)
def test_sentences_are_counted_at_their_ends(text, count):
    assert sentences(text) == count
