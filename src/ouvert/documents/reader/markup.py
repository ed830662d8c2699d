"""HTML, and the HTML inside EPUB."""

import io
import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from ouvert.documents.reader.shape import Block, Reading, pages_of

DROPPED = {"script", "style", "nav", "noscript", "template", "svg", "head", "iframe", "object", "form"}
HEADINGS = {f"h{n}": n for n in range(1, 7)}
# What stands in a block of its own.
BLOCKS = {
    *("p", "div", "section", "article", "main", "aside", "header", "footer", "blockquote", "pre", "li", "ul", "ol"),
    *("dl", "dt", "dd", "table", "thead", "tbody", "tfoot", "tr", "figure", "figcaption", "body", "html", "address"),
    *HEADINGS,
}
OPF = "{http://www.idpf.org/2007/opf}"
DC = "{http://purl.org/dc/elements/1.1/}"
CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
DEEPEST = 200  # elements within each other


def read_html(data: bytes) -> Reading:
    blocks, title = parsed(data)
    return Reading("html", pages_of([blocks]), title)


def parsed(data: bytes) -> tuple[list[Block], str | None]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(data)
    titled = tree.css_first("title")
    walk = Walk()
    if tree.body is not None:
        walk.into(tree.body, 0)
    walk.flush(0)
    title = " ".join(titled.text().split()) if titled is not None else ""
    return walk.blocks, title or None


class Walk:
    """Goes through the elements in order; text is gathered until a block begins or ends."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._held: list[str] = []

    def into(self, node: Any, depth: int) -> None:
        if depth > DEEPEST:
            self._held.append(node.text(separator=" "))
            return
        child = node.child
        while child is not None:
            tag = child.tag
            if tag in ("-text", "#text"):
                self._held.append(child.text(deep=False))
            elif tag in ("td", "th"):
                self.into(child, depth + 1)
                self._held.append(" | ")
            elif tag == "br":
                self._held.append(" ")
            elif tag in BLOCKS:
                self.flush(0)
                self.into(child, depth + 1)
                self.flush(HEADINGS.get(tag, 0))
            elif tag not in DROPPED and not tag.startswith(("-", "#", "!")):
                self.into(child, depth + 1)
            child = child.next

    def flush(self, level: int) -> None:
        text = " ".join("".join(self._held).split()).strip("| ")
        self._held.clear()
        if text:
            self.blocks.append(Block(text, level))


def read_epub(data: bytes) -> Reading:
    """Each chapter is a page."""
    from defusedxml import ElementTree

    with zipfile.ZipFile(io.BytesIO(data)) as book:
        container = ElementTree.fromstring(book.read("META-INF/container.xml"))
        root = container.find(f".//{CONTAINER}rootfile")
        if root is None:
            raise ValueError("it names no contents")
        place = root.get("full-path", "")
        package = ElementTree.fromstring(book.read(place))
        files = {each.get("id"): each.get("href", "") for each in package.iter(f"{OPF}item")}
        chapters = []
        for each in package.iter(f"{OPF}itemref"):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(files[each.get("idref")])))
            chapters.append(parsed(book.read(name))[0])
        title = package.findtext(f".//{DC}title")
    return Reading("epub", pages_of(chapters), title, paged=True)
