"""Which files are read, by the ending of their names, and by what."""

from collections.abc import Callable

from ouvert.documents.reader import markup, office, pdf, plain
from ouvert.documents.reader.shape import Reading

KINDS: dict[str, Callable[[bytes], Reading]] = {
    ".pdf": pdf.read_pdf,
    ".docx": office.read_docx,
    ".pptx": office.read_pptx,
    ".xlsx": office.read_sheets,
    ".xls": office.read_sheets,
    ".ods": office.read_sheets,
    ".html": markup.read_html,
    ".htm": markup.read_html,
    ".xhtml": markup.read_html,
    ".epub": markup.read_epub,
    ".md": plain.read_markdown,
    ".markdown": plain.read_markdown,
    ".txt": plain.read_text,
    ".text": plain.read_text,
    ".csv": plain.read_csv,
    ".tsv": plain.read_csv,
    ".eml": plain.read_mail,
}
