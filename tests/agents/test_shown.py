"""What an agent that is held to calls may cite: the lines that it has read, and no others."""

import json

import pytest
from scripted import Script

from ouvert.agents import Agents, Asked, agent_of, read_cases
from ouvert.agents.error import AgentError
from ouvert.agents.evals import Check, failures
from ouvert.agents.shown import browser_calls, citable, cited_text, statements_in, statements_schema
from ouvert.chat import Message
from ouvert.documents import Collections, in_a_box

LEASE = (
    "# Lease\n\nThe rent is 900 euros a month.\nIt is due on the first day.\n\n# Notice\n\nNotice is three months.\n"
)
HEADER = "name: reader\ndescription: Reads.\nmodel: m\nheld: true\ntools: [browser]\ndocuments: [contracts]\n"
READER = f"---\n{HEADER}budget: {{steps: 3}}\n---\n"


@pytest.fixture
def here(tmp_path):
    collections = Collections(tmp_path, in_a_box())
    with collections.create("contracts") as collection:
        collection.add("lease.md", LEASE.encode())
        collection.add("job.md", b"# Job\n\nHolidays are twenty-eight days.\n")
    return Agents(tmp_path, collections)


def through(here, *turns, agent=READER):
    script = Script(list(turns))
    with here.begun(agent_of(agent), Asked(text="What is the rent?"), lambda name: script) as run:
        list(run.steps())
    return run, script


def stated(*statements):
    return [("z", "answer", {"statements": [{"source": source, "text": text} for source, text in statements]})]


SEARCH = [("a", "browser_search", {"query": "rent"})]


def held(script, turn):
    return script.asked[turn].demands.arguments


def test_only_lines_that_were_read_can_be_cited_and_first_it_looks(here):
    run, script = through(
        here, SEARCH, [("b", "browser_open", {"id": 0, "cursor": 0})], stated(("1†L4-L5", "900 euros"))
    )
    assert set(held(script, 0)) == {"browser_search"}
    assert set(held(script, 1)) == {"browser_open", "answer"}
    assert held(script, 1)["browser_open"]["properties"] == {"id": {"enum": [0]}, "cursor": {"enum": [0]}}
    assert set(held(script, 2)) >= {"browser_search", "browser_find", "answer"}
    sources = held(script, 2)["answer"]["properties"]["statements"]["items"]["properties"]["source"]["enum"]
    assert sources[-1] == "none"
    shown = [event["text"] for event in run.log if event.kind == "result"]
    for mark in sources[:-1]:
        cursor, first, last = (int(each) for each in mark.replace("†L", " ").replace("-L", " ").split())
        lines = {int(line[1:].partition(":")[0]): line for line in shown[cursor].splitlines() if line.startswith("L")}
        assert all(lines[n].partition(": ")[2].strip() for n in range(first, last + 1))
    told = script.asked[2].conversation.tools[-1]
    assert told.parameters == statements_schema()  # what the model is told stays the same, so it is read once
    assert script.asked[2].conversation.messages[-1].content.endswith("source that says it: What is the rent?]")


def test_statements_become_a_text_with_citations_that_are_checked(here):
    run, _ = through(
        here,
        SEARCH,
        stated(("0†L4-L5", "The rent is 900 euros a month."), ("0†L4-L5", "Parrots live long."), ("none", "So far.")),
    )
    end = run.log.events[-1]
    assert end["text"] == "The rent is 900 euros a month.【0†L4-L5】 Parrots live long.【0†L4-L5】 So far."
    assert end["cited"]["text"] == "The rent is 900 euros a month.[1] Parrots live long.[unsupported] So far."
    [place] = end["cited"]["places"]
    assert (place["name"], place["quote"]) == ("lease.md", "The rent is 900 euros a month.")
    assert end["cited"]["citations"]["invented"] == 1


def test_lines_that_do_not_hold_a_statement_give_way_to_a_result_that_does(here):
    """Of an agent that is held; of another one such a citation is unsupported."""
    both = [("a", "browser_search", {"query": "rent holidays"})]
    said = "Holidays are twenty-eight days."
    run, _ = through(here, both, stated(("0†L4-L5", "The rent is 900 euros a month."), ("0†L4-L5", said)))
    cited = run.log.events[-1]["cited"]
    assert [each["name"] for each in cited["places"]] == ["lease.md", "job.md"]
    assert (cited["places"][1]["quote"], cited["citations"]["attributed"]) == (said, 1)
    free, _ = through(here, both, "Parrots live long.【0†L4-L4】", agent=READER.replace("held: true\n", ""))
    assert free.log.events[-1]["cited"]["text"] == "Parrots live long.[unsupported]"
    assert "attributed" not in free.log.events[-1]["cited"]["citations"]


def test_a_number_that_the_lines_do_not_have_is_not_supported_by_them(here):
    run, _ = through(here, SEARCH, stated(("0†L4-L5", "The rent is 1,900 euros a month.")))
    assert run.log.events[-1]["cited"]["text"].endswith("[unsupported]")


def test_the_places_of_a_page_are_its_paragraphs_and_results():
    listing = (
        "[0] rent\n**viewing lines [0 - 7] of 7**\n\nL0: \nL1: URL: \nL2: # Search Results\nL3: \n"
        "L4:   * 【0†a.md†c】 The rent is\nL5: 900.\nL6:   * 【1†b.md†c】 Pets."
    )
    page = (
        "[1] A (document://c/1)\n**viewing lines [0 - 4] of 9**\n\nL0: \nL1: URL: document://c/1\n"
        "L2: The rent\nL3: is 900.\nL4: "
    )
    shown = [
        Message(role="tool", name="browser_search", content=listing),
        Message(role="tool", name="browser_open", content=f"{page}\n\n[Of this run's budget 3 of 4 steps are used.]"),
        Message(role="tool", name="read_file", content=page.replace("[1]", "[5]")),
        Message(role="tool", name="browser_find", content="Error: No pages to access!"),
    ]
    assert citable(shown) == ("0†L4-L5", "0†L6-L6", "1†L2-L3")
    assert set(browser_calls(shown, "rent?")) == {"browser_search", "browser_find"}
    assert browser_calls(shown[:1], "rent?")["browser_open"]["properties"]["id"] == {"enum": [0, 1]}
    assert browser_calls([], "rent?")["browser_search"]["properties"]["query"] == {"enum": ["rent?"]}
    assert "enum" not in browser_calls(shown, "rent?")["browser_search"]["properties"]["query"]
    assert "enum" not in browser_calls([], "rent?" * 50)["browser_search"]["properties"]["query"]


def test_other_agents_end_as_before(here):
    free = READER.replace("held: true\n", "")
    run, script = through(here, SEARCH, "It is 900 euros【0†L4-L5】.", agent=free)
    assert held(script, 0) is None
    assert run.log.events[-1]["cited"]["text"] == "It is 900 euros[1]."
    assert statements_in('{"text": "x"}') is None
    assert cited_text([{"source": "none", "text": " So. "}]) == "So."


def test_evals_look_at_citations_and_at_the_form(here, tmp_path):
    run, _ = through(here, SEARCH, stated(("0†L4-L5", "The rent is 900 euros a month.")))
    answer = run.state.stopped["text"]
    assert list(failures(Check(cites=["lease.md"]), run, answer)) == []
    assert list(failures(Check(cites=["job.md"]), run, answer)) == ["it does not cite job.md"]
    assert list(failures(Check(cites=[]), run, answer)) == ["it cites lease.md, expected nothing"]
    form = Check.model_validate({"schema": {"type": "object", "required": ["rent"]}})
    assert "no JSON" in next(failures(form, run, answer))
    assert list(failures(form, run, json.dumps({"rent": 900}))) == []
    assert "at $" in next(failures(form, run, "{}"))
    (tmp_path / "evals.jsonl").write_text('{"task": "t", "check": {"schema": {"type": 3}}}\n')
    with pytest.raises(AgentError, match="is no JSON schema"):
        read_cases(tmp_path / "evals.jsonl")
