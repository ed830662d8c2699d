"""Tables of views for people."""

from ouvert.inspection import text_table


def test_a_table_says_how_many_rows_it_leaves_out():
    rows = [{"n": n} for n in range(203)]
    assert text_table(rows).splitlines()[-1].startswith("3 more rows")
    assert len(text_table(rows[:200]).splitlines()) == 201


def test_a_cell_stays_on_its_line_and_what_is_not_there_is_a_dash():
    assert text_table([{"a": None, "b": "\n", "c": " x", "d": 1.23456}]).splitlines()[1] == "-  '\\n'  ' x'  1.235"
