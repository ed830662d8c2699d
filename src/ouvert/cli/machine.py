"""What this machine can carry, in words for its owner."""

from pathlib import Path

from ouvert.assistant import sizes_of
from ouvert.engine import memory_bytes
from ouvert.store import Alias, aliases, bytes_in_words

# A model in the best shape for this many bytes of weights leaves room for caches, and for everything else that runs.
SHARE_OF_MEMORY = 4
# Licences under which any work may be done, and for which the hub asks nobody to sign: what can be advised unasked.
FREE_FOR_ANY_WORK = ("Apache-2.0", "MIT")


def resident_bytes() -> int | None:
    """Memory this process holds now, mapped files included; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return None


def suggestion(memory: int) -> Alias | None:
    """The largest model of a family this version runs whose packed weights take at most a quarter of the memory, free
    for any work."""
    packed = {alias: sizes.store - sizes.fetch for alias in aliases() for sizes in (sizes_of(alias),)}
    fitting = [
        alias
        for alias, size in packed.items()
        if alias.built and size * SHARE_OF_MEMORY <= memory and alias.licence in FREE_FOR_ANY_WORK
    ]
    return max(fitting, key=lambda alias: packed[alias], default=None)


def advice(model: str, parameters: int) -> str:
    """One line: what the default model is good for, and what to fetch for real work on this machine."""
    line = f"{model} is a toy ({parameters / 1e6:.0f} million parameters): good for a first try, and often wrong."
    memory = memory_bytes()
    better = suggestion(memory) if memory is not None else None
    if memory is None or better is None or better.name == model:
        return f"{line} `ouvert list --all` shows larger ones."
    return (
        f"{line} For real work on this machine ({bytes_in_words(memory)} of memory): "
        f"`ouvert pull {better.name}` ({bytes_in_words(better.size)}, {better.licence})."
    )
