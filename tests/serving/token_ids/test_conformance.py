"""Our engine over HTTP, and a pool of two of them, keep to what every engine keeps to."""

import pytest

from ouvert.engine import Address, Connection, MemberAddress, MemberEngine, PoolSettings, Wanted, open_pool
from ouvert.serving import ENGINE_ENDPOINTS

from ...engine.conformance import Conformance, Subject


@pytest.fixture(scope="module")
def servers(start_server, tiny_gpt_oss):
    return {
        name: start_server(models=(str(tiny_gpt_oss),), only_these=True, endpoints=ENGINE_ENDPOINTS) for name in "ab"
    }


class OverHTTP(Conformance):
    @pytest.fixture
    def subject(self, servers):
        engine = self.opened(servers)
        model = servers["a"].service.loaded_models.models()[0]

        def computed():
            models = [model for server in servers.values() for model in server.service.loaded_models.models()]
            return sum(model.engine.load.output_tokens for model in models)

        yield Subject(engine, model.vocabulary, computed, any_form=False)
        engine.close()
        for server in servers.values():
            server.idle()


class TestMember(OverHTTP):
    def opened(self, servers):
        return MemberEngine(Connection(Address.of(servers["a"].base)))


class TestPool(OverHTTP):
    def opened(self, servers):
        said = MemberEngine(Connection(Address.of(servers["a"].base))).statement
        wanted = Wanted(
            weights_digest=said.facts.identity.weights,
            vocabulary_size=said.vocabulary_size,
            tokenizer_digest=said.tokenizer_digest,
        )
        members = [MemberAddress(name=name, address=Address.of(each.base)) for name, each in servers.items()]
        return open_pool(members, PoolSettings(), wanted)
