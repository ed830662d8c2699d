"""Text as it is: txt, Markdown, CSV, and mail."""

import csv
import email
import email.policy
import io
import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from ouvert.documents.reader.markup import parsed
from ouvert.documents.reader.office import ROWS, rows
from ouvert.documents.reader.shape import Block, Reading, pages_of

HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
UNDERLINED = re.compile(r"(=+|-+)\s*$")
FENCE = re.compile(r"\s*(```|~~~)")
MAIL_LINES = ("From", "To", "Cc", "Date", "Subject")


def decoded(data: bytes) -> str:
    """UTF-8, UTF-16 or UTF-32 by their marks; else what old Windows programs write, in which nothing is wrong."""
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return data.decode("utf-32")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data[:4096]:
            raise ValueError("it is no text: it holds zero bytes") from None
        return data.decode("cp1252", "replace")


def read_text(data: bytes) -> Reading:
    """A form feed begins a page."""
    pages = [[Block(each) for each in paragraphs(page)] for page in decoded(data).split("\f")]
    return Reading("text", pages_of(pages), paged=len(pages) > 1)


def paragraphs(text: str) -> Iterator[str]:
    for each in re.split(r"\n[ \t\r]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        if each.strip():
            yield "\n".join(line.rstrip() for line in each.strip("\n").split("\n"))


def read_markdown(data: bytes) -> Reading:
    blocks = list(markdown_blocks(decoded(data).replace("\r\n", "\n")))
    title = next((block.text for block in blocks if block.level == 1), None)
    return Reading("markdown", pages_of([blocks]), title)


def markdown_blocks(text: str) -> Iterator[Block]:
    """Headings and paragraphs; what stands between fences is one block, and no heading."""
    held: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else HEADING.match(line)
        if heading is None and (fenced or line.strip()):
            if not fenced and len(held) == 1 and UNDERLINED.match(line):
                yield Block(held.pop().strip(), 1 if line.startswith("=") else 2)
                continue
            held.append(line.rstrip())
            continue
        if held:
            yield Block("\n".join(held))
            held = []
        if heading is not None:
            yield Block(heading[2], len(heading[1]))
    if held:
        yield Block("\n".join(line for line in held if line))


def read_csv(data: bytes) -> Reading:
    text = decoded(data)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:8192], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    table = [row for row in csv.reader(io.StringIO(text), dialect) if any(cell.strip() for cell in row)]
    blocks = [Block(row) for row in rows(iter(table))]
    pages = [blocks[n : n + ROWS] for n in range(0, max(len(blocks), 1), ROWS)]
    return Reading("csv", pages_of(pages))


def content_of(body: Any) -> str:
    """Its text; in an encoding of a name that nobody knows, as files without one are read."""
    try:
        return str(body.get_content())
    except LookupError:
        return decoded(bytes(body.get_payload(decode=True) or b""))


def read_mail(data: bytes) -> Reading:
    """What its writer sent, plain if they sent that; attachments are named, and not read."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise ValueError("it has no header lines of a mail")
    head = [f"{name}: {message[name]}" for name in MAIL_LINES if message[name]]
    blocks = [Block("\n".join(head))]
    body = message.get_body(("plain", "html"))
    if body is not None:
        content = content_of(body)
        is_html = body.get_content_subtype() == "html"
        blocks += parsed(content.encode())[0] if is_html else [Block(each) for each in paragraphs(content)]
    names = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    notes = tuple(f"attachment not read: {name}" for name in names)
    return Reading("mail", pages_of([blocks]), str(message["Subject"] or "") or None, notes=notes)
