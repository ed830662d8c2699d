"""The file of a pool: whose engines are one, where they are, and how it is decided between them.

docs/formats/pool.md has every field.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.configuration import ConfigurationError
from ouvert.cli.setting_values import Reader, duration, switch, text, whole

if TYPE_CHECKING:
    from ouvert.assistant import Elsewhere, Meant
    from ouvert.engine import Engine, MemberAddress, PoolSettings, Wanted

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
POOL_FIELDS: Mapping[str, Reader] = {
    "overflow": whole(0),
    "wait": duration,
    "failures": whole(1),
    "rest": duration,
    "silence": duration,
    "allow_other_weights": switch,
}
MEMBER_FIELDS: Mapping[str, Reader] = {"name": text, "url": text, "key_env": text, "key_file": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFile:
    """What the file says, its keys read."""

    path: Path
    members: "tuple[MemberAddress, ...]"
    settings: "PoolSettings"

    @property
    def hosts(self) -> list[str]:
        """Each member's host with its port, as the guard knows them."""
        return [host_of(member) for member in self.members]

    @property
    def in_the_clear(self) -> list[str]:
        """The hosts beyond this machine that are asked without encryption."""
        from ouvert.safety import is_this_machine

        return [
            host_of(member)
            for member in self.members
            if not member.address.secure and not is_this_machine(member.address.host)
        ]

    def elsewhere(self) -> "Elsewhere":
        """What makes the engine of a model: `ouvert.load(elsewhere=)`."""
        from ouvert.engine import open_pool

        def make(meant: "Meant") -> "Engine":
            return open_pool(self.members, self.settings, wanted_of(meant))

        return make


def host_of(member: "MemberAddress") -> str:
    host = f"[{member.address.host}]" if ":" in member.address.host else member.address.host
    return f"{host}:{member.address.port}"


def wanted_of(meant: "Meant") -> "Wanted":
    from ouvert.engine import Wanted

    return Wanted(
        weights_digest=meant.weights_digest,
        vocabulary_size=meant.vocabulary_size,
        tokenizer_digest=meant.tokenizer_digest,
    )


def read_pool_file(path: Path) -> PoolFile:
    """Raises ConfigurationError for a file that cannot be used, EngineError for an address that is none."""
    try:
        stated = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as problem:
        raise ConfigurationError(
            f"{path} cannot be read as a pool's file ({problem.strerror}): name another, or make it readable for you."
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ConfigurationError(f"{path} is not TOML: {problem}. Correct it there.") from None
    refuse_unknown(stated, {"pool", "member"}, str(path))
    pool, members = stated.get("pool", {}), stated.get("member", [])
    if not isinstance(pool, dict) or not isinstance(members, list) or not members:
        raise ConfigurationError(
            f"{path} names no members, expected [[member]] with name and url, one for each engine. An example is in "
            "docs/formats/pool.md."
        )
    read = tuple(member_of(path, place, each) for place, each in enumerate(members, 1))
    for field in ("name", "address"):
        values = [str(getattr(each, field)) for each in read]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ConfigurationError(f"{path}: two members have the {field} {twice[0]}, expected each one once.")
    return PoolFile(path=path, members=read, settings=settings_of(path, pool))


def settings_of(path: Path, stated: dict[str, Any]) -> "PoolSettings":
    from ouvert.engine import Patience, PoolRules, PoolSettings

    found = fields_of(stated, POOL_FIELDS, f"{path}: [pool]")
    names = {"rules": ("overflow", "wait"), "patience": ("failures", "rest")}
    rules, patience = (
        {name: found.pop(name) for name in each if name in found} for each in (names["rules"], names["patience"])
    )
    return PoolSettings(rules=PoolRules(**rules), patience=Patience(**patience), **found)


def member_of(path: Path, place: int, stated: Any) -> "MemberAddress":
    from ouvert.engine import Address, MemberAddress

    where = f"{path}: member {place}"
    if not isinstance(stated, dict):
        raise ConfigurationError(f"{where} is {stated!r:.80}, expected [[member]] with name and url.")
    found = fields_of(stated, MEMBER_FIELDS, where)
    if missing := [name for name in ("name", "url") if name not in found]:
        raise ConfigurationError(f"{where} has no {' and no '.join(missing)}, expected both. Add it.")
    if not NAME.fullmatch(found["name"]):
        raise ConfigurationError(
            f"{where}: name is {found['name']!r:.80}, expected letters, digits, dots, _ and -, 64 at most."
        )
    return MemberAddress(name=found["name"], address=Address.of(found["url"]), key=key_of(path, where, found))


def key_of(path: Path, where: str, found: Mapping[str, Any]) -> str | None:
    """The member's key, from where the file says it is. A file is looked for beside the pool's own."""
    if "key_env" in found and "key_file" in found:
        raise ConfigurationError(f"{where} has key_env and key_file, expected one of them.")
    if "key_env" in found:
        name = found["key_env"]
        if not os.environ.get(name):
            raise ConfigurationError(f"{where}: key_env names {name}, which is not set. Put the member's key in it.")
        return os.environ[name].strip()
    if "key_file" not in found:
        return None
    file = (path.parent / Path(found["key_file"]).expanduser()).absolute()
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{where}: key_file {file} cannot be read ({problem}). Put the key in it.") from None
    if not key:
        raise ConfigurationError(f"{where}: key_file {file} is empty, expected the member's key.")
    return key


def fields_of(stated: Mapping[str, Any], fields: Mapping[str, Reader], where: str) -> dict[str, Any]:
    refuse_unknown(stated, fields, where)
    found: dict[str, Any] = {}
    for name, value in stated.items():
        try:
            found[name] = fields[name](value)
        except ValueError as problem:
            raise ConfigurationError(f"{where}: {name} is {value!r:.80}, expected {problem}. Correct it.") from None
    return found


def refuse_unknown(stated: Mapping[str, Any], known: Any, where: str) -> None:
    if unknown := sorted(set(stated) - set(known)):
        raise ConfigurationError(f"{where} has {unknown[0]}, which is unknown, expected {', '.join(sorted(known))}.")
