"""What would leave the machine, said before anything does: to whom, how much, at what price, and what is kept of it."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ouvert.evaluation.contestants.dialects.dialect import CannotAskError
from ouvert.evaluation.contestants.remote import Remote
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.price_list import Price
from ouvert.evaluation.suites.suite import Card
from ouvert.evaluation.wording import Wording


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What one remote contestant would be sent. `request_bytes`: of all requests. `most_output`: tokens that all
    answers may have. `retention`: which statement holds, a key of texts/elsewhere."""

    contestant: str
    host: str
    prompts: int
    request_bytes: int
    most_output: int
    retention: str
    price: Price | None = None

    @property
    def most_price(self) -> float | None:
        """By the owner's list, if every byte were a token and every answer as long as it may be; None without a price.
        Raises nothing."""
        return None if self.price is None else self.price.of(self.request_bytes, self.most_output)

    def in_words(self, say: Wording) -> str:
        """Several lines. `say` has the catalogue "elsewhere". Raises nothing."""
        lines = [
            say("sending.head", contestant=self.contestant, leaves=say("leaves")),
            say("sending.what", host=self.host, prompts=say.number(self.prompts), kilobytes=say.number(
                self.request_bytes / 1000, 1)),
        ]  # fmt: skip
        if self.price is None or self.most_price is None:
            lines.append(say("sending.no_price", contestant=self.contestant))
        else:
            most = say.number(self.most_price, 2)
            lines.append(
                say("sending.price", most=most, currency=self.price.currency, source=self.price.source,
                    read=self.price.read)
            )  # fmt: skip
        return "\n".join([*lines, say(f"retention.{self.retention}", host=self.host)])


def sending(remote: Remote, items: Iterable[Item], samples: int = 1, price: Price | None = None) -> Sending:
    """What asking it those items would send. Opens nothing, and raises nothing."""
    sizes, output = [], 0
    for item in items:
        if not isinstance(item.ask, Chat):
            continue
        question = remote.manner.question(item.ask, 0)
        try:
            sizes.append(len(json.dumps(remote.dialect.request(question).body, separators=(",", ":")).encode()))
        except CannotAskError:
            continue
        output += question.max_tokens
    return Sending(
        contestant=remote.facts.label, host=remote.facts.host, prompts=len(sizes) * samples,
        request_bytes=sum(sizes) * samples, most_output=output * samples,
        retention=str(remote.facts.about["retention"]), price=price,
    )  # fmt: skip


def require_may_leave(cards: Sequence[Card], remotes: Collection[str], sent: Collection[str]) -> None:
    """`cards`: suites of a comparison that has the contestants `remotes` beyond this machine. `sent`: suites that the
    owner said may leave.

    Raises EvaluationError for a suite whose prompts stay, and for one in `sent` that is none of those.
    """
    names = {card.name for card in cards}
    if unknown := sorted(set(sent) - names):
        raise EvaluationError(
            f"comparing: --send names {unknown[0]!r:.60}, expected a suite of this comparison: "
            f"{', '.join(sorted(names))}. Correct it."
        )
    if sent and not remotes:
        raise EvaluationError("comparing: --send was given, and no contestant is beyond this machine. Leave it out.")
    stay = sorted(card.name for card in cards if card.stays and card.name not in sent)
    if stay and remotes:
        raise EvaluationError(
            f"comparing with {', '.join(sorted(remotes))}: the prompts of {', '.join(stay)} stay on this machine, "
            f"expected suites that may leave it. Leave the suite out, or say that its prompts may go: --send {stay[0]}."
        )
