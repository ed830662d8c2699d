"""Which replica has which name. Decisions only: nothing here knows of Ray."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one replica listens. `replica` is another each time one is started; `key` is the one that it asks for."""

    replica: str
    url: str
    key: str


class Places:
    """`count` names, each for one replica. A replica that comes for one that died gets its name, so that prompts whose
    beginning belongs there go to it."""

    def __init__(self, count: int) -> None:
        self._names = [f"replica-{n}" for n in range(1, count + 1)]
        self._places: dict[str, Place] = {}
        self._heard: dict[str, float] = {}  # when each name's replica last said that it is there

    @property
    def every(self) -> Mapping[str, Place]:
        """The names that are given, and to whom. Raises nothing."""
        return dict(self._places)

    def heard(self, place: Place, now: float) -> bool:
        """That replica is there. Whether that is news. A new one gets a name that is free, or that of the replica that
        has said nothing for the longest: there are never more replicas than names for long. Raises nothing."""
        known = next((name for name, each in self._places.items() if each.replica == place.replica), None)
        name = known or min(self._names, key=lambda name: self._heard.get(name, float("-inf")))
        self._heard[name] = now
        if self._places.get(name) == place:
            return False
        self._places[name] = place
        return True
