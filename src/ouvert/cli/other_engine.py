"""Engines that are other programs: `--engine vllm --at URL`, named by its owner, and what is asked of one."""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ouvert.cli.configuration import Configuration, ConfigurationError

if TYPE_CHECKING:
    from ouvert.assistant import Elsewhere

ENGINE_SETTINGS = ("engine", "engine_at", "engine_model", "engine_parallel")


def engine_asked_for(args: argparse.Namespace) -> "Elsewhere | None":
    """What makes the engine, or None where this program computes; `args` has ENGINE_SETTINGS.

    Raises ConfigurationError for settings that do not go together, EngineError for what is no address or no key.
    """
    if args.engine == "ouvert" or (args.engine is None and args.engine_at is None):
        return None
    if args.engine is None:
        raise ConfigurationError(f"--at {args.engine_at} says where an engine is, and not which: add --engine vllm.")
    if args.engine_at is None:
        raise ConfigurationError(f"--engine {args.engine} says which engine computes, and not where: add --at URL.")
    from ouvert.assistant import vllm
    from ouvert.safety import is_this_machine

    key = Configuration().value("engine_key")
    elsewhere = vllm(
        args.engine_at,
        key=None if key is None else str(key),
        model=args.engine_model,
        parallel=args.engine_parallel,
    )
    host = host_in_the_clear(args.engine_at)
    if host is not None and not is_this_machine(host):
        print(
            f"{host} is asked by http: whoever is on the way reads what is said. Use https or a tunnel.",
            file=sys.stderr,
        )
    return elsewhere


def host_in_the_clear(url: str) -> str | None:
    """The host of an address that is spoken to without encryption."""
    from urllib.parse import urlsplit

    parts = urlsplit(url.strip())
    return parts.hostname if parts.scheme == "http" else None


def asked_of_this_command(computing: Mapping[str, object]) -> dict[str, object]:
    """The options of `ouvert.load` that say how a model is computed, without what the configuration file or the
    environment says: that holds for models that compute here. What is left is refused where another program computes.
    """
    configuration = Configuration()
    return {name: value for name, value in computing.items() if value != configuration.value(name)}
