import pytest

from ouvert.evaluation.suites.draw import Draw


def test_a_key_gives_the_same_choices_on_every_machine():
    draw = Draw("ladder", 1, "en", 0)
    assert [draw.between(1, 9) for _ in range(8)] == [7, 1, 6, 1, 4, 7, 1, 3]
    assert draw.some("abcdef", 3) == ["f", "c", "a"]


def test_keys_that_look_alike_differ():
    assert [Draw("a", 1).below(10**9), Draw("a1").below(10**9)] != [Draw("a1").below(10**9)] * 2
    assert Draw("a", "b").below(10**9) != Draw("ab").below(10**9)


def test_all_of_a_range_comes_up_and_nothing_else():
    draw = Draw("range")
    assert {draw.between(3, 5) for _ in range(200)} == {3, 4, 5}
    assert sorted(draw.shuffled(range(20))) == list(range(20))


def test_more_than_there_is_cannot_be_drawn():
    with pytest.raises(IndexError):
        Draw("few").some([1, 2], 3)
