"""A remote engine keeps to what every engine keeps to, whatever the other server has words for."""

import pytest

from ..conformance import Conformance, Subject


class TestRemote(Conformance):
    @pytest.fixture(params=["all", "none", "none, said late"])
    def subject(self, request, server, engine, vocabulary):
        if request.param != "all":
            server.script.refuses = frozenset({"json", "regex", "choice"})
            server.script.late = request.param == "none, said late"
        return Subject(engine, vocabulary, lambda: server.engine.load.output_tokens, exact=False)
