"""PDF by pypdfium2: text, headings by the size of their letters, and pictures of pages with words marked."""

import ctypes
import struct
import zlib
from collections import Counter
from typing import Any

from ouvert.documents.reader.shape import Block, Reading, pages_of

HEADING = 1.15  # times the body's size
LONGEST_HEADING = 120  # characters
HYPHEN = "\ufffe"  # where pdfium joined a word that was broken at the end of a line
MARK = (255, 225, 80)  # red, green, blue: the letters below stay black
SCALE = 1.6  # pixels a point: 115 an inch
MOST_PIXELS = 4000 * 4000

Line = tuple[str, float]  # a line's text, and the size of its letters


def read_pdf(data: bytes) -> Reading:
    document = opened(data)
    pages = [lines_of(document[n]) for n in range(len(document))]
    sizes: Counter[float] = Counter()
    for text, size in (line for page in pages for line in page):
        sizes[size] += len(text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    levels = {size: n for n, size in enumerate(sorted((s for s in sizes if s >= HEADING * body), reverse=True), 1)}
    title = document.get_metadata_value("Title").strip() or None
    return Reading("pdf", pages_of((blocks_of(page, levels) for page in pages), pictures=True), title, paged=True)


def opened(data: bytes) -> Any:
    """Raises ValueError for a file that is encrypted or damaged."""
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as problem:
        raise ValueError(
            "it is locked with a password" if "password" in str(problem).lower() else "it is damaged, or no PDF"
        ) from None


def lines_of(page: Any) -> list[Line]:
    from pypdfium2 import raw

    text_page = page.get_textpage()
    text = text_page.get_text_range()
    lines, start = [], 0
    for line in text.splitlines(keepends=True):
        inked = start + len(line) - len(line.lstrip())
        size = round(float(raw.FPDFText_GetFontSize(text_page.raw, inked)), 1) if line.strip() else 0.0
        lines.append((line.strip().replace(HYPHEN, ""), size))
        start += len(line)
    return lines


def blocks_of(lines: list[Line], levels: dict[float, int]) -> list[Block]:
    """Headings, and between them paragraphs: a new one after an empty line, or where a short line ends a sentence."""
    blocks: list[Block] = []
    held: list[str] = []
    widest = max((len(text) for text, _ in lines), default=0)

    def flush() -> None:
        if held:
            blocks.append(Block("\n".join(held)))
            held.clear()

    for text, size in lines:
        if not text:
            flush()
        elif size in levels and len(text) <= LONGEST_HEADING:
            flush()
            blocks.append(Block(text, min(levels[size], 6)))
        else:
            held.append(text)
            if text[-1] in ".!?:" and len(text) < 0.8 * widest:
                flush()
    flush()
    return blocks


class NoSuchPageError(ValueError):
    """A page was asked for that the file does not have: nothing is wrong with the file."""


def picture(data: bytes, number: int, words: str, nth: int) -> bytes:
    """The page with that number, from 1, as a PNG; `words` are marked where they stand for the `nth` time, from 0.

    Raises NoSuchPageError for a page that there is not.
    """
    document = opened(data)
    if not 1 <= number <= len(document):
        raise NoSuchPageError(
            f"page {number} was asked for, and it has {len(document)}: ask for one of 1 to {len(document)}"
        )
    page = document[number - 1]
    scale = min(SCALE, (MOST_PIXELS / (page.get_width() * page.get_height())) ** 0.5)
    bitmap = page.render(scale=scale, rev_byteorder=True)
    width, height, stride, channels = bitmap.width, bitmap.height, bitmap.stride, bitmap.n_channels
    raw = bytes(ctypes.string_at(bitmap.buffer, stride * height))
    rows = []
    for y in range(height):
        row = raw[y * stride : y * stride + width * channels]
        rows.append(bytearray(row) if channels == 3 else bytearray(without_alpha(row, channels)))
    for left, bottom, right, top in boxes_of(page, words, nth):
        mark(rows, (left * scale, height - top * scale, right * scale, height - bottom * scale))
    return png(rows, width, height)


def without_alpha(row: bytes, channels: int) -> bytes:
    if channels == 1:
        return bytes(value for value in row for _ in range(3))
    out = bytearray(len(row) // channels * 3)
    for n in range(3):
        out[n::3] = row[n::channels]
    return bytes(out)


def mark(rows: list[bytearray], box: tuple[float, float, float, float]) -> None:
    """Where it is white it becomes the mark's colour, as a felt pen does."""
    left, top, right, bottom = (int(value) for value in box)
    for row in rows[max(top - 1, 0) : bottom + 2]:
        for x in range(max(left - 1, 0), min(right + 2, len(row) // 3)):
            for n in range(3):
                row[3 * x + n] = row[3 * x + n] * MARK[n] // 255


def boxes_of(page: Any, words: str, nth: int) -> list[tuple[float, float, float, float]]:
    """Where the words stand, in points from below left: white space counts for nothing, as lines are broken anew."""
    wanted = "".join(words.split())
    if not wanted:
        return []
    text_page = page.get_textpage()
    kept = [(n, c) for n, c in enumerate(text_page.get_text_range()) if not c.isspace() and c != HYPHEN]
    squeezed = "".join(c for _, c in kept)
    found = squeezed.find(wanted)
    for _ in range(nth):
        found = squeezed.find(wanted, found + 1) if found >= 0 else -1
    if found < 0:
        return []
    first, last = kept[found][0], kept[found + len(wanted) - 1][0]
    count = text_page.count_rects(first, last - first + 1)
    return [text_page.get_rect(n) for n in range(count)]


def png(rows: list[bytearray], width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
