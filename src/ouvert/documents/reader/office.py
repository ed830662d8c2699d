"""Documents, slides and sheets: docx, pptx, xlsx, xls, ods."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from ouvert.documents.reader.shape import Block, Reading, pages_of

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
ROWS = 200  # of a sheet on one page


def read_docx(data: bytes) -> Reading:
    import docx
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    document = docx.Document(io.BytesIO(data))
    pages: list[list[Block]] = [[]]
    for element in document.element.body.iterchildren():
        if element.tag == f"{W}p":
            if is_on_a_new_page(element) and pages[-1]:
                pages.append([])
            pages[-1].append(paragraph(Paragraph(element, document)))
        elif element.tag == f"{W}tbl":
            table = Table(element, document)
            pages[-1] += [Block(row) for row in rows([cell.text for cell in row.cells] for row in table.rows)]
    title = (document.core_properties.title or "").strip() or None
    return Reading("docx", pages_of(pages), title, paged=len(pages) > 1)


def is_on_a_new_page(element: Any) -> bool:
    """Whether a page ends in, or before, this paragraph, as its writer's program laid it out."""
    breaks = element.iter(f"{W}br", f"{W}lastRenderedPageBreak", f"{W}pageBreakBefore")
    return any(not each.tag.endswith("}br") or each.get(f"{W}type") == "page" for each in breaks)


def paragraph(of: Any) -> Block:
    style = (of.style.name if of.style is not None else "") or ""
    words = style.split()
    level = int(words[-1]) if style.startswith("Heading") and words[-1].isdecimal() else int(style == "Title")
    text = "\n".join(line.strip() for line in of.text.splitlines() if line.strip())
    return Block(text, min(level, 6))


def rows(cells: Iterator[Sequence[str]]) -> Iterator[str]:
    """Each row of a table under the names of its columns; a cell that spans several columns is said once."""
    names: list[str] | None = None
    for row in cells:
        texts = [" ".join(cell.split()) for cell in row]
        if names is None:
            names = texts
            yield " | ".join(dict.fromkeys(text for text in texts if text))
        else:
            said = (
                f"{name}: {text}" if name else text
                for name, text in dict.fromkeys(zip(names, texts, strict=False))
                if text
            )
            yield "; ".join(said)


def read_pptx(data: bytes) -> Reading:
    import pptx

    shown = pptx.Presentation(io.BytesIO(data))
    pages = [list(slide_blocks(slide)) for slide in shown.slides]
    title = (shown.core_properties.title or "").strip() or None
    return Reading("pptx", pages_of(pages, pictures=True), title, paged=True)


def slide_blocks(slide: Any) -> Iterator[Block]:
    titled = slide.shapes.title
    if titled is not None and titled.text_frame.text.strip():
        yield Block(" ".join(titled.text_frame.text.split()), 1)
    for shape in slide.shapes:
        if shape.has_text_frame and (titled is None or shape.shape_id != titled.shape_id):
            yield Block("\n".join(line.strip() for line in shape.text_frame.text.splitlines() if line.strip()))
        elif getattr(shape, "has_table", False) and shape.has_table:
            yield from (Block(row) for row in rows([cell.text for cell in row.cells] for row in shape.table.rows))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield Block("\n".join(slide.notes_slide.notes_text_frame.text.split("\n")).strip())


def read_sheets(data: bytes) -> Reading:
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except (python_calamine.CalamineError, zipfile.BadZipFile) as problem:
        raise ValueError(f"it is no sheet that can be read ({problem!s:.100})") from None
    pages = []
    for name in book.sheet_names:
        table = [[shown(value) for value in row] for row in book.get_sheet_by_name(name).to_python()]
        blocks = [Block(row) for row in rows(iter(row for row in table if any(row)))]
        pages += [[Block(name, 1), *blocks[n : n + ROWS]] for n in range(0, max(len(blocks), 1), ROWS)]
    return Reading("sheet", pages_of(pages), paged=True)


def shown(value: Any) -> str:
    """A cell as people read it: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
