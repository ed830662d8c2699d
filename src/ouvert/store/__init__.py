"""Models on this machine: fetch, verify, list, remove, with their provenance. May import weights.

Nothing here opens a connection except `Store.pull`, and nothing here reads the environment.
"""

from ouvert.store.aliases import Alias, Mirror, aliases, find_alias
from ouvert.store.error import Cancelled, StoreError, Unreachable
from ouvert.store.hub import Hub
from ouvert.store.manifest import StoredFile
from ouvert.store.names import split_precision
from ouvert.store.offer import Offer
from ouvert.store.package import HOSTS_COMMAND
from ouvert.store.packed_files import Packed
from ouvert.store.progress import SILENCE, Progress, bytes_in_words
from ouvert.store.store import Installed, Removed, Store, default_home
from ouvert.store.strays import strays, sweep_strays
from ouvert.store.unfinished import Unfinished
from ouvert.weights import CheckpointError, open_regular, read_regular

__all__ = [
    "HOSTS_COMMAND",
    "SILENCE",
    "Alias",
    "Cancelled",
    "CheckpointError",
    "Hub",
    "Installed",
    "Mirror",
    "Offer",
    "Packed",
    "Progress",
    "Removed",
    "Store",
    "StoreError",
    "StoredFile",
    "Unfinished",
    "Unreachable",
    "aliases",
    "bytes_in_words",
    "default_home",
    "find_alias",
    "open_regular",
    "read_regular",
    "split_precision",
    "strays",
    "sweep_strays",
]
