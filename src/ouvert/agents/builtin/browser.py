"""`browser` over the owner's documents, as gpt-oss was trained on it: `browser_search`, `browser_open`, `browser_find`.

What stands in documents are other people's words. Nothing leaves this machine: there is no other source.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ouvert.agents.agent_file import Agent
from ouvert.agents.error import ToolError
from ouvert.agents.opening import Opening
from ouvert.agents.tools import AgentTool, tool_of
from ouvert.documents import (
    Browser,
    BrowserError,
    BrowserPages,
    Citations,
    Cited,
    Collection,
    Collections,
    DocumentError,
)

# Of a search by an agent that is held to calls: small models answer from what it shows, and open little.
FEW, LONG = 3, 1300  # results, characters of each
NAMES = ("browser_search", "browser_open", "browser_find")


def open_browser(collections: Collections) -> Opening:
    """Opens the tool over those of these collections that an agent's file names. Raises nothing; the opening raises
    what `Collections.open` does."""

    def opened(agent: Agent, files: Path, stack: ExitStack) -> list[AgentTool]:
        found = {name: stack.enter_context(collections.open(name)) for name in agent.header.documents}
        size: dict[str, Any] = {"results": FEW, "snippet": LONG} if agent.states else {}
        return browser_tools(Browser(list(found.values()), **size), found, attributes=agent.states)

    return opened


def browser_tools(
    browser: Browser, collections: Mapping[str, Collection], *, attributes: bool = False
) -> list[AgentTool]:
    """One run's browser; its pages are counted from the first call on. Raises nothing."""

    def browser_search(query: str, topn: int = 10, source: str = "documents") -> str:
        """Search the documents for passages about `query`. Cite what you use as 【cursor†L8-L11】."""
        return told(lambda: browser.search(query))

    def browser_open(
        id: int | str = -1,  # noqa: A002 - the trained name
        cursor: int = -1,
        loc: int = -1,
        num_lines: int = -1,
        view_source: bool = False,
        source: str = "documents",
    ) -> str:
        """Open the link `id` of the page `cursor` at line `loc`; without `id` scroll the page to `loc`."""
        return told(lambda: browser.open(id, cursor, loc, num_lines))

    def browser_find(pattern: str, cursor: int = -1) -> str:
        """Find where `pattern` stands on the page `cursor`; without it, on the last one."""
        return told(lambda: browser.find(pattern, cursor))

    def cite(answer: str) -> dict[str, Any]:
        pages = BrowserPages(browser, lambda span: text_of(span, collections), attributes=attributes)
        citations = Citations(pages)
        pieces = [*citations.push(answer), *citations.finish()]
        text = "".join(each for each in pieces if not isinstance(each, Cited))
        return {
            "text": text,
            "citations": {**citations.facts, **({"attributed": pages.attributed} if attributes else {})},
            "places": [each.facts for each in citations.cited],
        }

    found = [tool_of(each, effect="read", foreign=True) for each in (browser_search, browser_open, browser_find)]
    return [found[0].citing(cite), *found[1:]]


def text_of(span: Any, collections: Mapping[str, Collection]) -> str:
    return collections[span.collection].text(span.document, span.start, span.stop)


def told(show: Any) -> str:
    """What a call shows, or what the model reads instead. Raises ToolError."""
    try:
        return str(show())
    except (BrowserError, DocumentError) as problem:
        raise ToolError(str(problem)) from None
