"""Parquet files as pyarrow writes them: rows as they were, what is null was not there."""

import pyarrow
import pytest

from ouvert.tuning import TuningError
from ouvert.tuning.rows import read_rows
from ouvert.tuning.shapes import converted

CALL = {"id": "x", "function": {"name": "f", "arguments": "{}"}}
ROWS = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {
        "messages": [
            {"role": "user", "content": "c"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "r", "tool_call_id": "x"},
            {"role": "assistant", "content": "d"},
        ]
    },
]


def test_rows_are_as_they_were(tmp_path):
    from pyarrow import parquet

    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    rows = read_rows(path)
    assert [(row.line, dict(row.values)) for row in rows] == [(1, ROWS[0]), (2, ROWS[1])]
    values, shape = converted(rows, "sft", ())
    assert (shape.name, values[1][1].messages[1].tool_calls[0].name) == ("messages", "f")


def test_what_is_no_parquet_is_said(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(TuningError, match="no Parquet"):
        read_rows(path)
