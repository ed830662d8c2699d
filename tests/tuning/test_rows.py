"""Files of data: every row with its line, and every damage by its line."""

import json

import pytest

from ouvert.tuning import TuningError
from ouvert.tuning.rows import LONGEST_LINE, read_rows


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"text": "a"}\n\n{"text": "b"}', [(1, {"text": "a"}), (3, {"text": "b"})]),
        ("a.jsonl", '\ufeff{"text": "a"}\r\n{"text": "b"}\r\n', [(1, {"text": "a"}), (2, {"text": "b"})]),
        ("a.ndjson", '{"text": "\u2028"}\n', [(1, {"text": "\u2028"})]),
        ("a.json", '[\n {"text": "a"},\n\n {"text":\n "b"}\n]\n', [(1, {"text": "a"}), (2, {"text": "b"})]),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', [(1, {"text": "a"}), (2, {"text": "b"})]),
        (
            "a.csv",
            'prompt,completion\na,"b\nc"\n\nd,\n',
            [(2, {"prompt": "a", "completion": "b\nc"}), (5, {"prompt": "d"})],
        ),
    ],
)
def test_rows_have_their_lines(tmp_path, name, content, expected):
    found = read_rows(written(tmp_path, name, content))
    assert [(row.line, dict(row.values)) for row in found] == expected


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "", "no rows"),
        ("a.jsonl", "\n \n", "no rows"),
        ("a.jsonl", '{"text": "a"}\n{"text": ', "line 2: no JSON"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"} x', "line 2: no JSON .*Extra data at character 15"),
        ("a.jsonl", '["a"]', "line 1: list .*expected an object"),
        ("a.jsonl", '{"text": NaN}', "line 1: no JSON .*NaN"),
        ("a.jsonl", '{"text": "a", "text": "b"}', "line 1: no JSON .*'text' stands there twice"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}', "line 2: the byte 0xe9 is no UTF-8"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16"), "it is UTF-16, expected UTF-8"),
        ("a.jsonl", "[" * 100_000, "line 1: no JSON"),
        ("a.json", '[\n{"text": "a"}\n{"text": "b"}]', "row 1 .line 3, character 1.: no JSON .*comma"),
        ("a.json", '[{"text": "a"},\n{"text": tru}]', "row 2 .line 2, character 10.: no JSON"),
        ("a.json", '[{"text": "a"}]\nx', "line 2, character 1.: no JSON .*behind the array"),
        ("a.json", '[{"text": "a"}', "no JSON"),
        ("a.json", '[\n{"text": "a"}, 1]', "row 2: int"),
        ("a.json", b'[{"text": "a"},\n{"text": "\xe9"}]', "line 2: the byte 0xe9"),
        ("a.csv", "prompt,completion\na\n", "line 2: 1 fields, expected 2"),
        ("a.csv", 'prompt,completion\na,"b\n', "line 2: no CSV"),
        ("a.csv", "prompt,prompt\na,b\n", "line 1: the columns"),
        ("a.txt", "a", "ends in '.txt', expected one of .jsonl"),
    ],
)
def test_damage_is_named_by_its_line(tmp_path, name, content, says):
    with pytest.raises(TuningError, match=says):
        read_rows(written(tmp_path, name, content))


def test_a_line_without_an_end_is_not_read_whole(tmp_path):
    path = written(tmp_path, "a.jsonl", b'{"text": "' + b"a" * LONGEST_LINE + b'"}')
    with pytest.raises(TuningError, match="line 1: longer than"):
        read_rows(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TuningError, match="No such file"):
        read_rows(tmp_path / "a.jsonl")


def test_long_fields_of_csv_are_read(tmp_path):
    path = written(tmp_path, "a.csv", f'text\n"{"a" * 200_000}"\n')
    assert len(read_rows(path)[0].values["text"]) == 200_000


def test_parquet_without_pyarrow_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(TuningError, match="pyarrow"):
        read_rows(written(tmp_path, "a.parquet", b"PAR1"))


def test_every_kind_of_file_says_the_same(tmp_path):
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": 'c, "d"', "completion": "e\nf"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    csv = 'prompt,completion\na,b\n"c, ""d""","e\nf"\n'
    for name, content in (("a.jsonl", lines), ("a.json", json.dumps(rows)), ("a.csv", csv)):
        assert [row.values for row in read_rows(written(tmp_path, name, content))] == rows
