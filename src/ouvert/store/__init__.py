"""What is on this machine: models (fetch, verify, list, remove, with their provenance), jobs and their files.

May import weights. Nothing here opens a connection except `Store.pull`, and nothing here reads the environment.
"""

from ouvert.store.adapter_probe import PROBE_TOKENS, AdapterProbe, LogProbabilities, probe_ids
from ouvert.store.adapters import (
    STATES,
    AdapterRecord,
    Adapters,
    State,
    is_adapter_name,
    require_adapter_name,
    shown_state,
    state_together,
    write_record,
)
from ouvert.store.aliases import Alias, Mirror, aliases, find_alias
from ouvert.store.answering import Answering, somebody_is_answered
from ouvert.store.corrections import Correction, Corrections
from ouvert.store.directions import Directions
from ouvert.store.error import Cancelled, StoreError, Unreachable
from ouvert.store.hub import Hub
from ouvert.store.installed import Installed
from ouvert.store.jobs.error import JobBusy, JobError, NoSuchFile, NoSuchJob
from ouvert.store.jobs.job import Job
from ouvert.store.jobs.job_store import JobStore, Listed, OpenJob, new_job_id
from ouvert.store.jobs.kept_files import ArrivingFile, KeptFile, KeptFiles, kept_until, new_file_id
from ouvert.store.jobs.private_files import write_whole
from ouvert.store.jobs.results import Result
from ouvert.store.manifest import StoredFile
from ouvert.store.names import MOST_ADAPTERS, readings, split_adapters, split_precision, unknown_precision
from ouvert.store.offer import Offer
from ouvert.store.package import HOSTS_COMMAND
from ouvert.store.packed_files import Packed
from ouvert.store.progress import SILENCE, Progress, bytes_in_words, counted
from ouvert.store.selection import is_companion
from ouvert.store.store import Removed, Store, default_home
from ouvert.store.strays import strays, sweep_strays
from ouvert.store.toml_text import as_toml
from ouvert.store.toml_text import inline as toml_value
from ouvert.store.unfinished import Unfinished
from ouvert.weights import CheckpointError, PrecisionError, open_regular, read_regular

__all__ = [
    "HOSTS_COMMAND",
    "MOST_ADAPTERS",
    "PROBE_TOKENS",
    "SILENCE",
    "STATES",
    "AdapterProbe",
    "AdapterRecord",
    "Adapters",
    "Alias",
    "Answering",
    "ArrivingFile",
    "Cancelled",
    "CheckpointError",
    "Correction",
    "Corrections",
    "Directions",
    "Hub",
    "Installed",
    "Job",
    "JobBusy",
    "JobError",
    "JobStore",
    "KeptFile",
    "KeptFiles",
    "Listed",
    "LogProbabilities",
    "Mirror",
    "NoSuchFile",
    "NoSuchJob",
    "Offer",
    "OpenJob",
    "Packed",
    "PrecisionError",
    "Progress",
    "Removed",
    "Result",
    "State",
    "Store",
    "StoreError",
    "StoredFile",
    "Unfinished",
    "Unreachable",
    "aliases",
    "as_toml",
    "bytes_in_words",
    "counted",
    "default_home",
    "find_alias",
    "is_adapter_name",
    "is_companion",
    "kept_until",
    "new_file_id",
    "new_job_id",
    "open_regular",
    "probe_ids",
    "read_regular",
    "readings",
    "require_adapter_name",
    "shown_state",
    "somebody_is_answered",
    "split_adapters",
    "split_precision",
    "state_together",
    "strays",
    "sweep_strays",
    "toml_value",
    "unknown_precision",
    "write_record",
    "write_whole",
]
