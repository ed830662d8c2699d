"""A pool over engines in other processes, each `ouvert serve MODEL --engine-only`."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ouvert.engine.interface import Engine
from ouvert.engine.pool.breaker import Patience
from ouvert.engine.pool.engine import PoolEngine, nothing
from ouvert.engine.pool.generation import Rules
from ouvert.engine.pool.members import Expected, Member, MemberError, Members
from ouvert.engine.remote.connection import Address, Connecting, Connection, Timeouts
from ouvert.engine.remote.member import MemberEngine

LOG = logging.getLogger("ouvert.engine")

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 60.0  # until a member says that it begins: it may compile a grammar first
SILENCE_SECONDS = 30.0  # a member gives a sign of life every ten


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAddress:
    """Where a member is, and the key that it asks for. `name`: by which receipts and the log speak of it.
    `connecting`: around each connecting, as in `Connection`."""

    name: str
    address: Address
    key: str | None = None
    connecting: Connecting = contextlib.nullcontext


# Where a member is now. Raises EngineUnreachableError while it is nowhere.
Where = Callable[[], MemberAddress]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How a pool decides, and what members may be. `silence`: seconds after which a member that says nothing in the
    middle of an answer counts as lost. `allow_other_weights`: members may compute with other weights than are meant."""

    rules: Rules = Rules()  # noqa: RUF009 - a value that never changes
    patience: Patience = Patience()  # noqa: RUF009 - as above
    silence: float = SILENCE_SECONDS
    allow_other_weights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The model that every member computes. Digests are "sha256:<hex>"."""

    weights_digest: str
    vocabulary_size: int
    tokenizer_digest: str


def open_pool(members: Sequence[MemberAddress], settings: PoolSettings, wanted: Wanted) -> PoolEngine:
    """Raises MemberError for a member that is there and is not what is wanted, EngineUnreachableError where not one is
    there, EngineError for a key that no header can hold. Members that are not there are asked for again by and by."""
    return open_moving_pool({each.name: partial(same, each) for each in members}, settings, wanted)


def same(member: MemberAddress) -> MemberAddress:
    """A member that stays where it is."""
    return member


def open_moving_pool(
    members: Mapping[str, Where], settings: PoolSettings, wanted: Wanted, on_close: Callable[[], None] = nothing
) -> PoolEngine:
    """A pool whose members, by their names, may come back at another address: each is asked for whenever one is opened,
    and `PoolEngine.moved` says that it is another now. `on_close` is called when the pool is closed.

    Raises as `open_pool` does.
    """
    opened = [Member(name, partial(open_member, where, settings, wanted)) for name, where in members.items()]
    expected = Expected(
        weights=None if settings.allow_other_weights else wanted.weights_digest, vocabulary_size=wanted.vocabulary_size
    )
    return PoolEngine(Members(opened, expected, settings.patience), settings.rules, on_close)


def open_member(where: Where, settings: PoolSettings, wanted: Wanted) -> Engine:
    """Raises EngineError where it is not there, or reads text in another way."""
    member = where()
    timeouts = Timeouts(connect=CONNECT_SECONDS, reply=REPLY_SECONDS, silence=settings.silence)
    engine = MemberEngine(Connection(member.address, key=member.key, timeouts=timeouts, connecting=member.connecting))
    theirs = engine.statement.tokenizer_digest
    if theirs != wanted.tokenizer_digest and not settings.allow_other_weights:
        raise MemberError(
            f"member {member.name}: its tokenizer is {theirs}, expected {wanted.tokenizer_digest}: ids may mean "
            "something else there. Serve the same model there."
        )
    return engine
