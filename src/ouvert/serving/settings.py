"""How a server is set up. The command line, the configuration file and tests make one of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ouvert.store import Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`models` are names or paths that are served and loaded first; without `only_these` the store's others are, too.
    `adapters`: names of adapters of these models that are loaded first as well; with `only_these` no others are served.
    `allow`: why adapters are served in which a check found a regression; None: they are refused.

    Seconds: `keep` an idle model stays in memory; `load_wait` a request waits for a model being loaded; `read_seconds`
    a client may take to send a request; `write_seconds` it may leave what it asked for unread; `answer_seconds` an
    answer may take, None for no limit; `stop_seconds` answers may go on when the server is told to stop, None for until
    they end; `ping_seconds` between signs of life in a stream that has nothing to say. `memory`: bytes all models
    together may take, None for no limit. `body_values`: members and elements that the objects and arrays of a request
    may have in all (where token ids are sent: body.TOKEN_VALUES at least). `most_answers`: how many are written or wait
    to be at once. `load_options` are those of `assistant.load`. `job_places`: items of jobs that are answered at once
    while nobody waits for an answer; `job_items`: most items of one job; `job_keep`: seconds that a job which is over,
    and an uploaded file, are kept, None for good; `file_bytes`: most bytes of an uploaded file; `files_bytes`: of all
    files of one caller.
    """

    host: str = "127.0.0.1"
    port: int = 11435
    models: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    allow: str | None = None
    only_these: bool = False
    keep: float | None = 1800.0
    memory: int | None = None
    load_wait: float = 300.0
    load_options: Mapping[str, Any] = field(default_factory=dict)
    most_answers: int = 256
    most_choices: int = 16
    most_connections: int = 1024
    body_bytes: int = 32 << 20
    body_values: int = 100_000
    header_bytes: int = 64 << 10
    read_seconds: float = 30.0
    write_seconds: float = 60.0
    answer_seconds: float | None = None
    stop_seconds: float | None = 10.0
    ping_seconds: float = 10.0
    share_prefixes: bool = False  # kept beginnings of prompts are one for all keys, which then can be told of others'
    names: tuple[str, ...] = ()  # host names, beside localhost, by which clients may call this server
    origins: tuple[str, ...] = ()  # web pages, beside those of this machine, that may use it
    stored_responses: int = 1000
    kept_receipts: int = 2000
    job_places: int = 16
    job_items: int = 50_000
    job_keep: float | None = 30 * 86400.0
    file_bytes: int = 200_000_000
    files_bytes: int = 10_000_000_000
    key_required: bool = False  # also where none has been made yet
    state: Path | None = None  # folder for what outlives the process: keys
    documents_passphrase: str | None = None  # of collections of documents that are encrypted with one
    hub: Hub = field(default_factory=Hub)  # that models are fetched from when the owner asks for it
