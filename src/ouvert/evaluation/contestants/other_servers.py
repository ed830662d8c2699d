"""How a comparison reaches contestants that other servers compute: what its owner allows, and whose keys there are."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

from ouvert.evaluation.contestants.contestant import Contestant, ContestantFacts
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.contestants.exchange import Patience
from ouvert.evaluation.contestants.local import USUAL_PATIENCE, open_local
from ouvert.evaluation.contestants.notation import place_of
from ouvert.evaluation.contestants.remote import USUAL_PATIENCE as PATIENCE_ELSEWHERE
from ouvert.evaluation.contestants.remote import Remote, key_variable
from ouvert.evaluation.contestants.remote import remote as allowed_remote
from ouvert.evaluation.price_list import Price
from ouvert.safety import Guard


def none(_: str) -> None:
    """For whoever has no keys, or no prices. Raises nothing."""


@dataclass(frozen=True, slots=True)
class OtherServers:
    """`allowed`: hosts that questions may be sent to. `key`: what the environment has under a name, None where nothing
    (os.environ.get). `guard`: this process's, for receipts. `patience`: with servers that are busy; None: the usual.
    `price`: of a contestant by its label, by the owner's list; it stands in the plan, among what is known of it.

    The default reaches this machine alone. Making one opens nothing, and raises nothing.
    """

    allowed: Sequence[str] = ()
    key: Callable[[str], str | None] = field(default=none, repr=False)
    guard: Guard | None = None
    patience: Patience | None = None
    price: Callable[[str], Price | None] = field(default=none, repr=False)

    def local(self, name: str, temperature: float = 0.0) -> Entrant:
        """A server of this machine, as a contestant. It is opened to learn its facts. Raises what `open_local`
        raises."""
        key = self.key(key_variable(place_of(name)))

        def opened() -> Contestant:
            patience = self.patience or USUAL_PATIENCE
            return open_local(name, temperature=temperature, key=key, patience=patience)

        first = opened()
        first.close()
        return Entrant(facts=first.facts, open=opened)

    def remote(self, name: str, send: Collection[str] = ()) -> Entrant:
        """A contestant beyond this machine; nothing is opened. `send`: suites whose prompts may go to it, though they
        stay otherwise. Raises what `evaluation.remote` raises, and EvaluationError where its key is missing."""
        return self.entrant(allowed_remote(name, self.allowed), send)

    def entrant(self, allowed: Remote, send: Collection[str] = ()) -> Entrant:
        """As `remote`, of one that was found allowed. Raises EvaluationError where its key is missing."""
        key = self.key(key_variable(allowed.place))

        def opened() -> Contestant:
            return allowed.open(key, self.guard, self.patience or PATIENCE_ELSEWHERE)

        opened().close()  # a key that is missing is said now, not after an hour
        facts, price = allowed.facts, self.price(allowed.facts.label)
        if price is not None:
            facts = replace(facts, about={**facts.about, "price": asdict(price)})
        return Entrant(facts=facts, open=opened, send=frozenset(send))

    def again(self, facts: ContestantFacts, temperature: float) -> Entrant:
        """That of a plan. Raises what `local` or `remote` raises."""
        return self.local(facts.label, temperature) if facts.where == "local" else self.remote(facts.label)
