"""The browser's pages, byte for byte as OpenAI's reference shows them.

tests/goldens/documents/browser.json holds what the reference (gpt-oss 2026-11, `simple_browser_tool.py`) showed when it
was run over the same pages; docs/formats/documents.md states the rules. Four characters counted as a token, there and
here.
"""

import json
from pathlib import Path

import pytest

from ouvert.documents import Browser, BrowserError, BrowserPages, Citations, Cited

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "documents" / "browser.json").read_text(encoding="utf-8"))


@pytest.fixture
def browser(contracts):
    contracts.add("lease.md", GOLDEN["lease"].encode())
    contracts.add("job.md", b"# Job\n\nHolidays are twenty-eight days. No deposit.\n")
    return Browser([contracts])


def shown(browser, call, arguments):
    try:
        return getattr(browser, call)(**arguments)
    except BrowserError as problem:
        return str(problem)


def test_every_page_and_every_error_is_as_the_reference_shows_it(browser):
    assert len(GOLDEN["calls"]) == 20
    for each in GOLDEN["calls"]:
        assert shown(browser, each["call"], each["arguments"]) == each["shown"]


def test_every_line_of_a_page_is_its_span_of_the_document(browser, contracts):
    browser.search("deposit of the lease")
    browser.open(id=0)
    page = browser.pages[1]
    document = contracts.document("lease.md").id
    text = contracts.text(document)
    assert len(page.spans) == len(page.lines)
    for line, span in zip(page.lines[2:], page.spans[2:], strict=True):
        assert text[span.start : span.stop].translate(str.maketrans("【】", "〖〗")) == line


def test_places_that_find_shows_are_those_of_the_page(browser, contracts):
    browser.open(id=f"document://contracts/{contracts.document('lease.md').id}")
    browser.find("cat is allowed")
    place = next(n for n, line in enumerate(browser.pages[1].lines) if "cat is allowed" in line)
    span = browser.span(1, place, place)
    assert contracts.text(span.document, span.start, span.stop).startswith("A cat is allowed.")


def cited(browser, contracts, *pieces):
    citations = Citations(BrowserPages(browser, lambda span: contracts.text(span.document, span.start, span.stop)))
    out = [each for piece in pieces for each in citations.push(piece)] + citations.finish()
    return "".join(each for each in out if isinstance(each, str)), [e for e in out if isinstance(e, Cited)], citations


def test_lines_that_were_cited_resolve_and_lines_that_are_not_there_do_not(browser, contracts):
    browser.open(id=f"document://contracts/{contracts.document('lease.md').id}")
    line = next(n for n, text in enumerate(browser.pages[0].lines) if "deposit is" in text)
    text, found, citations = cited(
        browser,
        contracts,
        f"It is 1,250 euro【0†L{line}-L{line + 1}】, never more【0†L",
        "999999】 nor【7†L1】 so【0†L9-L3】【0†",
        "L5",
    )
    assert text == "It is 1,250 euro[1], never more[unsupported] nor[unsupported] so[unsupported][unsupported]"
    assert found[0].quote.startswith("The deposit is 1,250 euro")
    assert (found[0].span.name, text[found[0].first : found[0].last]) == ("lease.md", "[1]")
    facts = citations.facts
    assert (facts["given"], facts["resolved"], facts["invented"]) == (5, 1, 4)
