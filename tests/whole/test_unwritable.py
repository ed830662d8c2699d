"""A store that cannot be written: the answer comes all the same, and what is not kept is said."""

import errno
import os
from pathlib import Path

import pytest

import ouvert
from ouvert.cli import main
from ouvert.store import Store

QUESTION = "Hi"


class Told:
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def begin(self, label, total, done=0):
        pass

    def advance(self, count):
        pass

    def end(self):
        pass

    def require_wanted(self): ...


def answer_of(model):
    return "".join(event.text for event in model.chat(QUESTION) if isinstance(event, ouvert.TextDelta))


@pytest.fixture
def refusing(monkeypatch, tmp_path):
    """refusing(number): from now on the system makes no folder and no file below tmp_path/store, for that reason."""
    store = tmp_path / "store"
    make_folder, open_file = os.mkdir, os.open

    def start(number):
        def refuse(path):
            if Path(os.fspath(path)).is_relative_to(store):
                raise OSError(number, os.strerror(number), os.fspath(path))

        def mkdir(path, *rest, **named):
            refuse(path)
            return make_folder(path, *rest, **named)

        def opened(path, flags, *rest, **named):
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                refuse(path)
            return open_file(path, flags, *rest, **named)

        monkeypatch.setattr(os, "mkdir", mkdir)
        monkeypatch.setattr(os, "open", opened)
        return Store(store)

    return start


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_weights_are_packed_into_memory_where_the_store_cannot_be_written(refusing, speaking_model, number):
    told = Told()
    with ouvert.load(
        speaking_model(), store=refusing(number), progress=told, receipts=False, prefixes=False, threads=1
    ) as model:
        assert answer_of(model) == "Hello from a tiny model."
    assert [os.strerror(number) in text for text in told.said] == [True]
    assert "are not kept" in told.said[0]


def test_what_nobody_foresaw_is_a_sentence_and_its_trace_is_shown_on_request(monkeypatch, capsys):
    from ouvert.cli.commands import doctor

    def fail(args):
        raise OSError(errno.EIO, "Input/output error", "/somewhere/file")

    monkeypatch.setattr(doctor, "run", fail)
    monkeypatch.delenv("OUVERT_TRACE", raising=False)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ouvert: /somewhere/file: Input/output error.")
    assert "Traceback" not in said
    assert "OUVERT_TRACE=1" in said
    monkeypatch.setenv("OUVERT_TRACE", "1")
    assert main(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err
