"""A stand-in for the box where something else is tested: the same program, without walls. tests/documents/test_boxed.py
reads in real boxes."""

import subprocess

import pytest

from ouvert.documents import Collections, Ran


def beside(argv, data):
    ended = subprocess.run([*argv], input=data, capture_output=True, timeout=60, check=False)
    return Ran(ended.returncode, ended.stdout, ended.stderr.decode())


def within(argv, data):
    """The reader's own function, in this process: for tests of what comes after."""
    from ouvert.documents.reader.kinds import KINDS

    return Ran(0, KINDS[argv[-1]](data).as_json().encode(), "")


@pytest.fixture
def collections(tmp_path):
    return Collections(tmp_path, within)


@pytest.fixture
def contracts(collections):
    with collections.create("contracts") as made:
        yield made


@pytest.fixture
def run_beside():
    return beside
