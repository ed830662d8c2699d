"""A page as its elements, for tests: what it refers to, what it names, what it says in each language."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

WITHOUT_END = {"meta", "input", "br", "img", "link"}


@dataclass
class Page(HTMLParser):
    """`tags`: every element as (name, attributes). `ids`, `links`: anchors, and what refers to one. `said`: the text by
    language, "" where it has none. `faults`: ends that fit no beginning."""

    tags: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    links: list = field(default_factory=list)
    said: dict = field(default_factory=lambda: {"": [], "en": [], "fr": []})
    faults: list = field(default_factory=list)
    open: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.tags.append((tag, facts))
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts["href"]] if "href" in facts else []
        if tag not in WITHOUT_END:
            self.open.append((tag, facts.get("lang") if tag != "html" else None))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop()[0] != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        language = next((lang for _, lang in reversed(self.open) if lang), "")
        if "style" not in [tag for tag, _ in self.open]:
            self.said[language].append(data)

    def text(self, language):
        return "".join(self.said[language])


def read(html):
    page = Page()
    page.feed(html)
    page.close()
    return page
