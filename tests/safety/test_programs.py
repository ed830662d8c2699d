"""Which programs a process under the guard may start."""

import pytest

from ouvert.safety import Programs


def test_a_whole_command_is_allowed_word_for_word():
    programs = Programs(whole=[["/bin/tool", "--quiet"]])
    assert ["/bin/tool", "--quiet"] in programs
    assert ("/bin/tool", "--quiet", "more") not in programs
    assert ["/bin/tool"] not in programs


def test_a_beginning_allows_what_goes_on_from_it():
    programs = Programs(whole=[["/bin/tool"]]) | Programs(beginnings=[["/bin/box", "--no-network"]])
    assert ["/bin/box", "--no-network", "--", "anything"] in programs
    assert ["/bin/box", "anything", "--no-network"] not in programs
    assert ["/bin/box", "--no-networks"] not in programs
    assert list(programs) == ["/bin/box", "/bin/tool"]


def test_nothing_is_no_beginning():
    with pytest.raises(ValueError, match="no words are given"):
        Programs(beginnings=[()])
