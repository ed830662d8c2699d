"""What documents state is compared with the code, wherever it is a table, and their links lead somewhere."""

import argparse
import importlib
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

import ouvert
from ouvert.assistant.events import Finished
from ouvert.assistant.receipts.receipt import VERSION as RECEIPT_VERSION
from ouvert.cli import COMMANDS, build_parser
from ouvert.cli.conversing import COMMANDS as TYPED
from ouvert.engine.prefixes.page_format import MAGIC
from ouvert.kernels.pages import VERSION as PAGE_VERSION
from ouvert.kernels.program import CacheType
from ouvert.models.families import FAMILIES
from ouvert.packed import LAYOUT_VERSION
from ouvert.serving import Settings
from ouvert.serving.app import ENDPOINTS
from ouvert.serving.callers import OpenedFrom
from ouvert.serving.web.conversation_format import VERSION as CONVERSATION_VERSION
from ouvert.store.manifest import FORMAT as RECORD_FORMAT
from ouvert.tokenization.tokenizer import LONGEST_TEXT

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(path):
    """A document without its blocks of code."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def table(path, heading):
    """The rows of the table whose first heading is `heading`: a list of cells each."""
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    else:
        raise AssertionError(f"{path}: there is no table that begins with {heading!r}")
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def named(cell):
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


# --- links ------------------------------------------------------------------------------------------------------------


def anchors(path):
    """Headings, as GitHub names them in addresses; of a page the names that it gives its elements."""
    if path.suffix == ".html":
        return set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8")))
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(each.relative_to(ROOT)) for each in DOCUMENTS])
def test_every_link_leads_somewhere(document):
    text = re.sub(r"`[^`\n]*`", "", prose(document))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{target}: there is no such file"
        assert not anchor or anchor in anchors(file), f"{target}: {sorted(anchors(file))}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(each.relative_to(ROOT)) for each in DOCUMENTS])
def test_every_row_of_a_table_has_its_columns(document):
    """A renderer leaves out what is too much and says nothing; a sign inside a cell is written with a backslash."""
    columns = 0
    for line in prose(document).splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (columns and found) or found == columns, line
        columns = found


def test_files_that_documents_name_are_there():
    name = re.compile(
        r"`((?:docs/(?:formats|guides|decisions|figures)|tests|benchmarks|examples|src/ouvert)/[\w./-]+\.(?:py|md|toml|json|h|cpp))`"
    )
    for document in DOCUMENTS:
        if document.name in ("journal.md", "CHANGELOG.md"):  # they tell of what was
            continue
        for found in name.findall(document.read_text(encoding="utf-8")):
            assert (ROOT / found).exists(), f"{document}: {found}"


def test_nothing_promises_a_package_of_ours_in_an_index():
    promised = re.compile(r"pip install[^\n`]*\bouvert\b|ouvert\[")
    itself = '"ouvert[box,documents,mcp,portable,report,suites,tune]"'  # an extra that holds others
    files = [*DOCUMENTS, *(ROOT / "src" / "ouvert").rglob("*.py"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    for file in files:
        assert not promised.search(file.read_text(encoding="utf-8").replace(itself, "")), file


def test_no_test_asserts_a_time():
    """Clocks are for waiting until something is so, and for tests of what has a time itself."""
    measured = re.compile(r"time\.(?:thread_time|process_time)\(|assert [^#\n]*(?:monotonic|perf_counter)\(\) - ")
    for file in (ROOT / "tests").rglob("*.py"):
        assert not measured.search(file.read_text(encoding="utf-8").replace("measured = re", "")), file


# --- commands ---------------------------------------------------------------------------------------------------------


def options_of(parser):
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from options_of(each)


def options(command):
    parser = argparse.ArgumentParser()
    importlib.import_module(f"ouvert.cli.commands.{command}").add_arguments(parser)
    return set(options_of(parser))


GUIDES = sorted((DOCS / "guides").glob("*.md"))


def test_every_option_of_run_is_in_the_guide():
    cells = [cell for row in table(DOCS / "guides" / "command-line.md", "Option") for cell in row[:1]]
    text = prose(DOCS / "guides" / "command-line.md")
    in_tables = {option for cell in cells for option in re.findall(r"--[\w-]+", cell)}
    assert in_tables <= options("run")
    assert options("run") - {"--help", "--no-exact"} <= set(re.findall(r"--[\w-]+", text))


def test_every_command_and_no_other_is_in_the_guides():
    text = "\n".join(guide.read_text(encoding="utf-8") for guide in GUIDES)
    used = set(re.findall(r"\bouvert ([a-z]+)\b", " ".join(re.findall(r"`[^`]*`", text) + FENCED.findall(text))))
    assert set(COMMANDS) <= used
    described = "\n".join(
        guide.read_text(encoding="utf-8") for guide in [*GUIDES, ROOT / "README.md", ROOT / "SECURITY.md"]
    )
    for command in re.findall(r"`ouvert ([a-z]+)[ `]", described):
        assert command in COMMANDS, command


@pytest.mark.parametrize("document", [*GUIDES, ROOT / "README.md", ROOT / "SECURITY.md"], ids=lambda each: each.name)
def test_options_beside_a_command_are_that_commands(document):
    text = document.read_text(encoding="utf-8")
    lines = [line for block in FENCED.findall(text) for line in block.splitlines() if "ouvert " in line]
    for said in [*re.findall(r"`([^`\n]*\bouvert [^`\n]*)`", text), *lines]:
        command, _, words = re.sub(r"\s#.*", "", said).partition("ouvert ")[2].partition(" ")
        if command not in COMMANDS:
            continue
        for option in re.findall(r"(?<!\S)--[\w-]+", words):
            assert option in options(command), f"{document.name}: ouvert {command} {option}"


def test_what_is_typed_in_a_conversation_is_in_the_guide():
    rows = table(DOCS / "guides" / "command-line.md", "Command")
    assert [named(row[0])[0].split()[0] for row in rows] == list(TYPED)


def test_the_help_of_ouvert_names_every_command():
    said = build_parser(None).format_help()
    assert all(f"\n    {command}" in said for command in COMMANDS)


# --- the server -------------------------------------------------------------------------------------------------------


def without_names(path):
    return re.sub(r"\{[^}]*\}", "{}", path)


def offered():
    """(method, path without /v1) of the table in the guide to the server."""
    for row in table(DOCS / "guides" / "server.md", "Path"):
        method = "POST"
        for word in re.findall(r"GET|POST|PUT|DELETE|/[\w{}/.:-]*", " ".join(named(row[0]))):
            if word in ("GET", "POST", "PUT", "DELETE"):
                method = word
            else:
                yield method, without_names(word.removeprefix("/v1"))


def test_every_endpoint_is_in_the_guide_and_the_guide_offers_no_other():
    there = {(each.method, without_names(each.path)) for each in ENDPOINTS}
    from ouvert.serving.openai import not_offered

    refused = {(each.method, without_names(each.path)) for each in not_offered.ENDPOINTS}
    ui = prose(DOCS / "formats" / "conversations.md")
    ollama = prose(DOCS / "formats" / "ollama-api.md")
    stated = {(method, without_names(path)) for method, path in offered()}
    assert stated <= there - refused
    for method, path in there - refused - stated:
        base = path.partition("{")[0].rstrip("/")
        assert base in ui or base in ollama, f"{method} {path}"


def test_what_needs_no_key_is_what_the_guide_says():
    text = prose(DOCS / "guides" / "server.md")
    sentence = re.search(r"As soon as one client has a key.*?\.\s+Keys are kept hashed", text, re.DOTALL)[0]
    public = {each.path for each in ENDPOINTS if each.public}
    page = {"/", "/assets/{name}", "/icon.svg"}  # "the page's own files"
    assert "the page's own files" in sentence
    assert {name for name in named(sentence) if name.startswith("/")} == public - page


def test_bounds_are_those_of_the_server():
    bounds = {row[0]: row[1] for row in table(DOCS / "guides" / "server.md", "What")}
    settings = Settings()
    assert bounds["bytes of a body"].startswith(f"{settings.body_bytes >> 20} MB")
    assert bounds["members and elements of its objects and arrays"].startswith(f"{settings.body_values:,}")
    assert bounds["characters of one text"] == f"{LONGEST_TEXT:,}"
    assert bounds["time for a request's headers"].startswith(f"{settings.read_seconds:.0f} s")
    assert bounds["time to read what is sent"].startswith(f"{settings.write_seconds:.0f} s")
    assert bounds["connections"].startswith(str(settings.most_connections))
    assert bounds["answers that are written or wait"] == str(settings.most_answers)


def test_from_where_a_page_may_be_opened_is_in_its_guide():
    rows = table(DOCS / "guides" / "web.md", "`opened_from`")
    assert [named(row[0])[0] for row in rows] == list(get_args(OpenedFrom))


# --- Python -----------------------------------------------------------------------------------------------------------


def test_the_guide_to_python_has_loads_settings_and_names_that_are_there():
    guide = DOCS / "guides" / "python.md"
    text = prose(guide)
    taken = inspect.signature(ouvert.load).parameters
    shown = re.search(r"`ouvert\.load\(([^)]*)\)`", text)[1]
    for each in shown.split(", "):
        name, _, default = each.partition("=")
        assert name == "*" or name in taken
        assert not default or repr(taken[name].default) == default
    assert {named(row[0])[0] for row in table(guide, "Setting")} <= taken.keys()
    for name in re.findall(r"\bouvert\.([A-Z]\w+)", guide.read_text(encoding="utf-8")):
        assert name in ouvert.__all__, name
    for row in table(guide, "Error"):
        assert all(name in ouvert.__all__ for name in named(row[0]))


def test_the_reasons_for_an_end_are_those_there_are():
    reasons = set(get_args(inspect.get_annotations(Finished)["reason"]))
    row = next(row for row in table(DOCS / "formats" / "receipt.md", "Field") if row[0] == "`ended.reason`")
    assert reasons <= set(named(row[1]))
    told = next(row for row in table(DOCS / "guides" / "python.md", "Event") if row[0].startswith("`Finished("))
    assert all(reason in told[1] for reason in reasons)


def test_every_field_of_a_receipt_is_described(speaking_model):
    with ouvert.load(speaking_model(), receipts=False, prefixes=False) as model:
        [*_, finished] = model.chat("Hi", max_tokens=3, stop=["nothing"], response_schema={"type": "boolean"})
        [*_, continued] = model.continue_text("Once", max_tokens=2)
    rows = table(DOCS / "formats" / "receipt.md", "Field")
    for receipt in (finished.receipt, continued.receipt):
        for part, value in receipt.items():
            about = [row for row in rows if re.match(rf"`{part}[`.\[]", row[0])]
            assert about, part
            fields = value[0] if isinstance(value, list) and value else value if isinstance(value, dict) else {}
            words = {word for row in about for cell in row for text in named(cell) for word in re.findall(r"\w+", text)}
            assert set(fields) <= words, part


# --- formats ----------------------------------------------------------------------------------------------------------


def test_formats_state_the_versions_that_are_written():
    def stated(name):
        return (DOCS / "formats" / f"{name}.md").read_text(encoding="utf-8")

    assert f"## Version {RECEIPT_VERSION}\n" in stated("receipt")
    assert f"| `receipt` | {RECEIPT_VERSION}:" in stated("receipt")
    assert f"| `ouvert_conversation` | {CONVERSATION_VERSION}:" in stated("conversations")
    assert f"| `format` | {RECORD_FORMAT}." in stated("store")
    assert f"The layout version is `{LAYOUT_VERSION}`" in stated("packed")
    assert f"| 8 | `{MAGIC.decode()}` |" in stated("prefix-cache")
    assert f"| 4 | version: {PAGE_VERSION} |" in stated("cache")


def test_the_table_of_families_is_the_one_of_the_code():
    rows = {named(row[0])[0]: row for row in table(DOCS / "formats" / "configurations.md", "Ours")}
    assert rows.keys() == {family.name for family in FAMILIES}
    for family in FAMILIES:
        _, hf, gguf, _ = rows[family.name]
        assert set(named(hf)) == set(family.model_types), family.name
        assert set(named(gguf)) == set(family.gguf_architectures), family.name


def test_the_encodings_of_caches_are_those_there_are():
    assert {named(row[0])[0] for row in table(DOCS / "formats" / "cache.md", "`cache_type`")} == set(
        get_args(CacheType)
    )


def test_the_map_of_the_readme_has_every_part():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Map\n\n```text\n(.*?)```", text, re.DOTALL)[1]
    there = {each.name for each in (ROOT / "src" / "ouvert").iterdir() if (each / "__init__.py").exists()}
    assert set(re.findall(r"^  (\w+)/", block, re.MULTILINE)) == there
    for folder in re.findall(r"^(\w+)/", block, re.MULTILINE):
        assert (ROOT / folder).is_dir()
    inside = text.partition("<!-- figures: begin -->")[2].partition("<!-- figures: end -->")[0]
    assert "over llama.cpp" in inside  # the one place where figures are replaced


def test_each_figure_of_the_readme_has_a_command_that_is_there():
    for row in table(ROOT / "README.md", "| case"):
        words = named(row[1])[0].split()
        script = words[0] if words[0].endswith(".py") else "side_by_side.py"
        source = (ROOT / "benchmarks" / script).read_text(encoding="utf-8")
        assert words[0] == script or f'"{words[-1]}"' in source, row[1]
