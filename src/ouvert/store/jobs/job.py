"""What is known of a job: its record, `job.json`."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ouvert.store.jobs.error import JobError, NoSuchJob
from ouvert.store.jobs.private_files import write_json
from ouvert.weights import read_regular

VERSION = 1
RECORD = "job.json"
MOST_BYTES = 16 << 20
ID = re.compile(r"[a-z]+_[0-9a-f]{8,64}")

# "paused" is never written: it is a job that is `running` by its record, while no process holds its lock.
State = Literal["queued", "running", "paused", "finished", "failed", "expired", "cancelled"]
STATES: tuple[str, ...] = get_args(State)
OVER = frozenset({"finished", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of long work, as its record has it. Times are Unix seconds.

    `kind` says who can do it, `owner` whose it is (`""`: this user's own; else as the server names its callers),
    `runner` which program goes on with it ("server" or "command"). `items`: how many things are to be done, None until
    they were counted; `answered` and `failed` count those done, with a result or with an error. `times`: when it was
    `created`, `started`, asked to `cancel`, `finalizing`, and `ended`. `deadline`: when it ends whatever is done;
    `removal`: when it may be removed. `settings` are the kind's own, and so are `totals` (counts of the results) and
    `outcome` (where the results are, what was wrong).
    """

    id: str
    kind: str
    owner: str
    runner: Literal["server", "command"]
    state: State = "queued"
    items: int | None = None
    answered: int = 0
    failed: int = 0
    times: Mapping[str, float] = field(default_factory=dict)
    deadline: float | None = None
    removal: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be done for it. Raises nothing."""
        return self.state in OVER

    @property
    def created(self) -> float:
        """When it was made, in Unix seconds. Raises nothing."""
        return self.times.get("created", 0.0)

    def at(self, moment: str) -> dict[str, float]:
        """`times` with this moment, now, unless it was before. Raises nothing."""
        return {moment: time.time(), **self.times}


def read_job(folder: Path) -> Job:
    """Raises NoSuchJob, and JobError for a record that cannot be used."""
    path = folder / RECORD
    try:
        stated = json.loads(read_regular(path, MOST_BYTES))
        if stated.pop("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        job = Job(**stated)
        require_sound(job, folder.name)
    except FileNotFoundError:
        raise NoSuchJob(f"There is no job {folder.name!r:.100} here. `ouvert jobs` lists those that are.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise JobError(
            f"reading the job {folder.name}: {path} is not usable ({problem!s:.200}), expected a record as "
            f"docs/formats/jobs.md says. `ouvert jobs rm {folder.name}` removes the job with all its results."
        ) from problem
    return job


def require_sound(job: Job, name: str) -> None:
    """Raises ValueError for a value that no writer of ours wrote."""
    texts = (job.id, job.kind, job.owner)
    if not all(isinstance(each, str) for each in texts) or job.id != name or job.state not in STATES:
        raise ValueError("id, kind, owner or state is wrong")
    tables = (job.times, job.settings, job.totals, job.outcome)
    if not all(isinstance(each, dict) for each in tables):
        raise ValueError("one of its tables is none")
    counts = (job.answered, job.failed, 0 if job.items is None else job.items, *job.times.values())
    if not all(isinstance(each, int | float) and each >= 0 for each in counts):
        raise ValueError("a count or a time is no number")


def write_job(folder: Path, job: Job) -> None:
    """Raises OSError; the record before it then stays."""
    write_json(folder / RECORD, {"version": VERSION, **asdict(job)})
