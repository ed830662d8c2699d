"""SETTINGS: every setting, with its name, its values, its meaning and its option.

The names in the file and in the environment, the options of commands, what `ouvert config` shows and what
docs/configuration.md says are all made from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ouvert.cli.setting_values import Reader, duration, gigabytes, one_of, size, switch, text, texts, whole

RECEIPTS = {
    "on": "digests, counts and times",
    "contents": "what was said as well, so that `ouvert receipt replay` needs nothing else",
    "off": "none",
}
CACHES = ("f16", "q8")
PRECISIONS = ("4", "8", "16", "stored")
ENGINES = ("ouvert", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of the configuration file, the environment and the command line.

    `key` is its name in the file, `table.name` or `name`. `default` holds if nobody sets it; `default_text` says so in
    words where the value itself says too little. `flag` and `metavar` are those of the commands' option; a setting
    without a `flag` is no option. The value of one that is `secret` is never shown.
    """

    key: str
    read: Reader
    meaning: str
    default: object = None
    default_text: str | None = None
    flag: str | None = None
    secret: bool = False
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    example: str

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def variable(self) -> str:
        return "OUVERT_" + self.key.replace(".", "_").upper()

    @property
    def fallback(self) -> str:
        """What holds if nobody sets it, in words."""
        return self.default_text or in_words(self.default)


def in_words(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(value) or "none"
        case float() if value == float("inf"):
            return "forever"
        case float() if value == int(value):
            return str(int(value))
        case _:
            return str(value)


SETTINGS: Mapping[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            key="model",
            read=text,
            meaning="the model that `ouvert run` asks where none is named",
            default="smollm2",
            example='"gpt-oss:20b"',
        ),
        Setting(
            key="home",
            read=text,
            meaning="folder of the store: models, receipts, keys, kept prompts",
            default_text="where this system keeps a user's data",
            example='"/srv/ouvert"',
        ),
        Setting(
            key="receipts",
            read=one_of(RECEIPTS),
            meaning="what is kept of every answer, on this machine only: "
            + "; ".join(f"{name}: {meaning}" for name, meaning in RECEIPTS.items()),
            default="on",
            flag="--receipts",
            choices=tuple(RECEIPTS),
            example='"contents"',
        ),
        Setting(
            key="guard",
            read=switch,
            meaning="deny and count connections beyond this machine in every process that answers",
            default=True,
            example="false",
        ),
        Setting(
            key="allow_hosts",
            read=texts,
            meaning="hosts that the guard lets through",
            default=(),
            example='["example.org:443", "10.0.0.5"]',
        ),
        Setting(
            key="threads",
            read=whole(1),
            meaning="threads that compute",
            default_text="what serves best",
            flag="--threads",
            metavar="N",
            example="2",
        ),
        Setting(
            key="context",
            read=whole(1),
            meaning="most tokens of a conversation",
            default_text="the model's",
            flag="--context",
            metavar="N",
            example="8192",
        ),
        Setting(
            key="exact",
            read=switch,
            meaning="keep activations in float32 where it is faster not to",
            default=False,
            flag="--exact",
            example="true",
        ),
        Setting(
            key="cache",
            read=one_of(CACHES),
            meaning="keep keys and values in 16 bits, or 8: about half the memory",
            default_text="f16, in float32 where NumPy computes",
            flag="--cache",
            choices=CACHES,
            example='"q8"',
        ),
        Setting(
            key="precision",
            read=one_of(PRECISIONS),
            meaning="to how many bits large matrices are rounded when a model is packed, if they have more; `stored`: "
            "as in its files",
            default_text="4, or those of a model that is quantised already",
            flag="--precision",
            choices=PRECISIONS,
            example='"8"',
        ),
        Setting(
            key="memory",
            read=size,
            meaning="most memory that a model may take with its caches; of a larger mixture of experts, experts are "
            "read from disk when they are chosen",
            default_text="nine tenths of the machine's",
            flag="--memory",
            metavar="SIZE",
            example='"12GB"',
        ),
        Setting(
            key="template",
            read=text,
            meaning="chat template instead of the model's: a file, `builtin` (ours for the model), `builtin:NAME`, or "
            "the name of one of several that the model brings",
            default_text="the model's own, or ours where it has none",
            flag="--template",
            metavar="FILE|NAME",
            example='"builtin"',
        ),
        Setting(
            key="prefix_cache",
            read=text,
            meaning="where beginnings of prompts are kept on this disk; off: in memory only",
            default_text="in the store",
            flag="--prefix-cache",
            metavar="DIR",
            example='"off"',
        ),
        Setting(
            key="prefix_cache_quota",
            read=gigabytes,
            meaning="most disk space for them, in gigabytes",
            default_text="a tenth of the free disk, 8 at most",
            flag="--prefix-cache-quota",
            metavar="GB",
            example="2.5",
        ),
        Setting(
            key="prefix_cache_key",
            read=text,
            meaning="the key that encrypts them: a file with 32 bytes, `keyring` for the system's, `passphrase` to be "
            "asked; none: they are not encrypted",
            default_text="a key of this user's, in the system's keyring or beside the configuration file",
            flag="--prefix-cache-key",
            metavar="KEY",
            example='"keyring"',
        ),
        Setting(
            key="engine",
            read=one_of(ENGINES),
            meaning="which engine computes: ouvert, this one, or vllm, another program, at the address of --at",
            default_text="ouvert",
            flag="--engine",
            choices=ENGINES,
            example='"vllm"',
        ),
        Setting(
            key="engine_at",
            read=text,
            meaning="address of that engine, here or on another machine",
            flag="--at",
            metavar="URL",
            example='"http://127.0.0.1:8000"',
        ),
        Setting(
            key="engine_key",
            read=text,
            meaning="key of that engine, as it was started with",
            secret=True,
            example='"b7c1..."',
        ),
        Setting(
            key="engine_model",
            read=text,
            meaning="name by which that engine has the model",
            default_text="the only one it has",
            flag="--engine-model",
            metavar="NAME",
            example='"openai/gpt-oss-120b"',
        ),
        Setting(
            key="engine_parallel",
            read=text,
            meaning="how that engine is divided, which it does not say itself: for receipts",
            flag="--engine-parallel",
            metavar="WORDS",
            example='"tensor parallel 2"',
        ),
        Setting(
            key="serve.models",
            read=texts,
            meaning="models that are loaded first, where the command names none",
            default=(),
            example='["gpt-oss:20b", "smollm2"]',
        ),
        Setting(
            key="serve.only",
            read=switch,
            meaning="serve only these models",
            default=False,
            flag="--only",
            example="true",
        ),
        Setting(
            key="serve.pool",
            read=text,
            meaning="the engines of other machines compute, as one: a file that names them (docs/formats/pool.md)",
            default_text="this machine computes",
            flag="--pool",
            metavar="FILE",
            example='"/etc/ouvert/pool.toml"',
        ),
        Setting(
            key="serve.replicas",
            read=whole(1),
            meaning="so many engines of one model compute, as one: Ray Serve starts each in a process of its own, and "
            "again when it dies",
            default_text="this process computes",
            flag="--replicas",
            metavar="N",
            example="2",
        ),
        Setting(
            key="serve.cluster",
            read=text,
            meaning="address of a Ray cluster whose machines have them, one each at most",
            default_text="all on this machine",
            flag="--cluster",
            metavar="HOST:PORT",
            example='"10.0.0.1:6379"',
        ),
        Setting(
            key="serve.host",
            read=text,
            meaning="address to listen at; any but this machine's own needs a key",
            default="127.0.0.1",
            flag="--host",
            metavar="ADDRESS",
            example='"0.0.0.0"',
        ),
        Setting(
            key="serve.port",
            read=whole(0, 65535),
            meaning="port to listen at; 0: any free one",
            default=11435,
            flag="--port",
            metavar="N",
            example="8080",
        ),
        Setting(
            key="serve.keep",
            read=duration,
            meaning="how long an idle model stays in memory",
            default=1800.0,
            default_text="30m",
            flag="--keep",
            metavar="TIME",
            example='"forever"',
        ),
        Setting(
            key="serve.memory",
            read=size,
            meaning="most memory for all models together, and so for each; of a larger mixture of experts, experts are "
            "read from disk when they are chosen",
            default_text="four fifths of the machine's memory",
            flag="--memory",
            metavar="SIZE",
            example='"12GB"',
        ),
        Setting(
            key="serve.names",
            read=texts,
            meaning="host names by which clients call it, beside this machine's own",
            default=(),
            flag="--name",
            metavar="NAME",
            example='["ouvert.lan"]',
        ),
        Setting(
            key="serve.origins",
            read=texts,
            meaning="web pages that may use it, beside its own",
            default=(),
            flag="--origin",
            metavar="ORIGIN",
            example='["https://chat.example.org"]',
        ),
        Setting(
            key="serve.share_prefixes",
            read=switch,
            meaning="all keys share the kept beginnings of prompts: less to compute, but whoever has a key can find "
            "out how another key's prompts began",
            default=False,
            flag="--share-prefixes",
            example="true",
        ),
        Setting(
            key="serve.most",
            read=whole(1),
            meaning="most answers that are written or waiting at once",
            default=256,
            flag="--most",
            metavar="N",
            example="32",
        ),
        Setting(
            key="serve.answer_within",
            read=duration,
            meaning="an answer that takes longer is ended where it is",
            default=float("inf"),
            flag="--answer-within",
            metavar="TIME",
            example='"10m"',
        ),
        Setting(
            key="serve.stop_within",
            read=duration,
            meaning="how long answers may go on when the server is told to stop",
            default=10.0,
            default_text="10s",
            flag="--stop-within",
            metavar="TIME",
            example='"1m"',
        ),
        Setting(
            key="serve.largest_request",
            read=size,
            meaning="most bytes in the body of a request",
            default=32_000_000,
            default_text="32MB",
            flag="--largest-request",
            metavar="SIZE",
            example='"100MB"',
        ),
        Setting(
            key="serve.largest_file",
            read=size,
            meaning="most bytes of a file that is uploaded for a batch",
            default=200_000_000,
            default_text="200MB",
            flag="--largest-file",
            metavar="SIZE",
            example='"1GB"',
        ),
        Setting(
            key="serve.all_files",
            read=size,
            meaning="most bytes of all files that are kept for one key: uploaded ones and answers of batches",
            default=10_000_000_000,
            default_text="10GB",
            flag="--all-files",
            metavar="SIZE",
            example='"50GB"',
        ),
        Setting(
            key="serve.most_items",
            read=whole(1),
            meaning="most requests of one batch",
            default=50_000,
            flag="--most-items",
            metavar="N",
            example="100000",
        ),
        Setting(
            key="jobs.parallel",
            read=whole(1),
            meaning="requests of batches that are answered at once; in a server, while nobody waits for an answer",
            default=16,
            flag="--parallel",
            metavar="N",
            example="32",
        ),
        Setting(
            key="jobs.keep_finished",
            read=duration,
            meaning="how long a job that is over, and a file uploaded for one, are kept",
            default=30 * 86400.0,
            default_text="30d",
            flag="--keep-finished",
            metavar="TIME",
            example='"7d"',
        ),
        Setting(
            key="remote.allow",
            read=texts,
            meaning="hosts that `ouvert compare --remote` may send questions to",
            default=(),
            example='["api.openai.com"]',
        ),
        Setting(
            key="remote.prices",
            read=text,
            meaning="what their answers cost: a file of your own (docs/formats/remote-contestants.md)",
            example='"/home/me/prices.toml"',
        ),
        Setting(
            key="compare.tariff",
            read=text,
            meaning="what a kilowatt-hour costs, for the cost of an answer",
            flag="--tariff",
            metavar="PRICE",
            example='"0.25EUR/kWh"',
        ),
        Setting(
            key="compare.machine_price",
            read=text,
            meaning="what the machine costs, over how many years, used how many hours a year",
            flag="--machine-price",
            metavar="PRICE",
            example='"800EUR/4y/1000h"',
        ),
    )
}
FILE_VARIABLE = "OUVERT_CONFIG"
VARIABLES = (FILE_VARIABLE, *(setting.variable for setting in SETTINGS.values()))


def template() -> str:
    """The whole file with every setting commented out, as docs/configuration.md has it."""
    lines = [
        "# Ouvert's configuration. Every line is optional: take the # away from what you want to set.",
        "# The command line comes first, then the environment (variables in brackets), then this file.",
    ]
    table = ""
    for setting in SETTINGS.values():
        of, _, name = setting.key.rpartition(".")
        if of != table:
            lines += ["", f"[{of}]"]
            table = of
        lines += [
            "",
            f"# {setting.meaning} (default: {setting.fallback}) [{setting.variable}]",
            f"# {name} = {setting.example}",
        ]
    return "\n".join(lines) + "\n"
