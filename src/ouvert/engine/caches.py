"""What requests hold of the memory for caches: their sequences, and the kept pages they use."""

from ouvert.engine.interface import EngineError
from ouvert.engine.prefixes.kept import KeptPrefixes
from ouvert.engine.queues import Queues
from ouvert.engine.request import Request
from ouvert.engine.runners.interface import Runner, RunnerSequence
from ouvert.engine.variant import Variant


class Caches:
    """`lent`: sequences of callers who compute on them."""

    def __init__(self, runner: Runner, kept: KeptPrefixes, queues: Queues) -> None:
        self.kept = kept
        self.lent: list[RunnerSequence] = []
        self._runner, self._queues = runner, queues

    def growth(self, before: int, after: int) -> int:
        """Bytes that a sequence of `before` tokens grows by, at most, to `after`."""
        return self._runner.cache_bytes(after) - self._runner.cache_bytes(before)

    def make_room_from_requests(self, wanted: int) -> None:
        """Let go of what nobody uses until there is room; where that is not enough, requests pause, the youngest
        first."""
        holders = [each for each in self._queues if each.sequence is not None]
        while not self.kept.make_room(wanted) and holders:
            self.pause(holders.pop())

    def keep(self, request: Request) -> None:
        """What the request has computed is kept for those that begin alike; it uses what is kept from now on."""
        if request.sequence is None or request.cached == 0 or not request.leaves:
            return
        self.kept.tree.release(request.nodes)
        request.nodes = []  # else a page that this one continues could not take its place
        ids, files = request.keys[: request.cached], request.scoring is None
        request.nodes = self.kept.keep(ids, request.sequence, request.scope, files=files)
        self.kept.tree.use(request.nodes)

    def release(self, request: Request) -> None:
        """The caches and kept pages that a request holds."""
        if request.sequence is not None:
            request.sequence.close()
            request.sequence = None
        self.kept.tree.release(request.nodes)
        request.nodes = []
        request.cached = 0

    def pause(self, request: Request) -> None:
        """The request gives up its caches. When its turn comes again, it goes on from what is still kept of it."""
        self.keep(request)
        self.release(request)
        self._queues.wait_again(request)

    def lend(self, capacity: int, variant: Variant) -> RunnerSequence:
        self.lent.append(self._runner.new_sequence(capacity, variant))
        return self.lent[-1]

    def give_back(self, sequence: RunnerSequence) -> None:
        self.lent.remove(sequence)
        sequence.close()

    def out_of_memory(self, tokens: int, problem: MemoryError) -> EngineError:
        limit = self.kept.limit
        return EngineError(
            f"computing: no memory for the caches of {tokens} tokens "
            f"({self._runner.cache_bytes(tokens) / 1e6:.0f} MB; the limit is {limit / 1e6:.0f} MB: {problem}). "
            "Shorten the conversation, load the model with a smaller context, or close other programs."
        )
