"""Contestants of `ouvert compare` that other servers compute: of this machine by their address, and remote ones.

What would leave the machine is said, and asked about, before anything does.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ouvert.cli.configuration import Configuration, ConfigurationError
from ouvert.cli.environment import guard_asked_for, key_of_host

if TYPE_CHECKING:
    from ouvert.evaluation import Item, OtherServers, Price, Remote


def add_remote_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "contestants beyond this machine",
        "Refused until `allow` in the table `remote` of the configuration names their host. What would be sent is said "
        "first, and asked about.",
    )
    group.add_argument(
        "--remote", action="append", default=[], metavar="NAME",
        help="openai:gpt-5, anthropic:NAME, gemini:NAME, or openai:https://HOST/v1/NAME; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--send", action="append", default=[], metavar="SUITE",
        help="the prompts of this suite may leave the machine, though they are yours; repeatable",
    )  # fmt: skip
    group.add_argument("--yes", action="store_true", help="send without asking, for scripts")


def remotes_asked_for(names: Sequence[str]) -> "tuple[Remote, ...]":
    """The remote contestants, allowed by the configuration. Opens nothing.

    Raises EvaluationError for one whose host it does not name, ConfigurationError for what is no host there.
    """
    if not names:
        return ()
    from ouvert.evaluation import remote

    allowed = Configuration().stated("remote.allow")
    try:
        return tuple(remote(name, cast("tuple[str, ...]", allowed.value)) for name in names)
    except ValueError as problem:
        raise ConfigurationError(f"remote.allow, from {allowed.source}: {problem}") from problem


def other_servers() -> "OtherServers":
    """How they are reached: the hosts of the configuration, the keys of the environment, under this process's guard."""
    from ouvert.evaluation import OtherServers

    allowed = cast("tuple[str, ...]", Configuration().value("remote.allow"))
    return OtherServers(allowed=allowed, key=key_of_host, guard=guard_asked_for(), price=owners_price)


def owners_price(label: str) -> "Price | None":
    """Raises EvaluationError for a list that cannot be read."""
    from ouvert.evaluation import price_for

    return price_for(owners_prices(), label)


def owners_prices() -> "Mapping[str, Price]":
    """Raises EvaluationError for a list that cannot be read."""
    path = Configuration().value("remote.prices")
    if path is None:
        return {}
    from ouvert.evaluation import read_prices

    return read_prices(Path(str(path)).expanduser())


def say_what_would_leave(remotes: "Sequence[Remote]", items: "Iterable[Item]", samples: int) -> None:
    """On stderr, in lines. Sends nothing. Raises EvaluationError for a list of prices that cannot be read."""
    if not remotes:
        return
    from ouvert.evaluation import Wording, price_for, sending

    say, prices, every = Wording("elsewhere", "en"), owners_prices(), tuple(items)
    for remote in remotes:
        price = price_for(prices, remote.facts.label)
        print(sending(remote, every, samples, price).in_words(say), file=sys.stderr)


def agreed(
    remotes: "Sequence[Remote]",
    items: "Iterable[Item]",
    samples: int,
    *,
    yes: bool,
    answer: Callable[[str], str] | None = None,
) -> bool:
    """Whether the owner lets those items go, after what that means was said; `answer` asks. Sends nothing.

    Raises EvaluationError where there is nobody to ask and `yes` was not said.
    """
    say_what_would_leave(remotes, items, samples)
    if yes or not remotes:
        return True
    from ouvert.evaluation import EvaluationError, Wording

    say = Wording("elsewhere", "en")
    try:
        said = (answer or asked_at_the_terminal)(say("sending.ask"))
    except EOFError:
        raise EvaluationError(
            "comparing with contestants beyond this machine: nobody is there to say whether the questions may go, "
            "expected y at a terminal. Say it on the command line, with --yes. Nothing was sent."
        ) from None
    if said.strip().lower() in ("y", "yes", "o", "oui"):
        return True
    print(say("sending.declined"), file=sys.stderr)
    return False


def asked_at_the_terminal(question: str) -> str:
    """On stderr: stdout is for what was found."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        raise EOFError
    return line
