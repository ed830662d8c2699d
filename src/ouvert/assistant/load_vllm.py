"""`ouvert.vllm`: a vLLM computes, in a process of its own, here or on another machine."""

from ouvert.assistant.load_elsewhere import Elsewhere
from ouvert.engine import Address, Connection, TokenEndpoint, Vllm
from ouvert.safety import connecting

PURPOSE = "engine"  # what its host is allowed for, in receipts


def vllm(at: str, *, key: str | None = None, model: str | None = None, parallel: str | None = None) -> Elsewhere:
    """For `ouvert.load(..., elsewhere=)`: the vLLM at http://HOST:PORT computes, and its answers are not promised to be
    the same again.

    `key`: the one it was started with. `model`: which of its models is meant, where it serves several. `parallel`: how
    it is divided ("tensor parallel 2"), for receipts. A guard of this process lets this host through, at this port, for
    this alone, and counts it.

    Raises EngineError for what is no address, and for a key that no header can hold. Loading raises
    EngineUnreachableError where nobody answers, and EngineError for a vLLM that is not what is meant: another
    tokenizer, no token endpoint, too old.
    """
    address = Address.of(at)
    connection = Connection(address, key=key, connecting=lambda: connecting(address.host, address.port, PURPOSE))
    meant_there = Vllm(endpoint=TokenEndpoint(connection), model=model, parallel=parallel)
    return lambda meant: meant_there.open(meant.vocabulary_size, meant.tokenize)
