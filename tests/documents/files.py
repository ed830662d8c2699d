"""Small files of every kind, made here so that what they say is known."""

import io
import zipfile


def pdf(*pages):
    """A PDF of pages of (size, line); a page without lines is a picture."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n, lines in enumerate(pages):
        shown, y = "", 800
        for size, line in lines:
            shown += f"BT /F1 {size} Tf 50 {y} Td ({line}) Tj ET\n"
            y -= size + 6
        resources = "/Resources<</Font<</F1 3 0 R>>>>"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]{resources}/Contents {5 + 2 * n} 0 R>>")
        objects.append(f"<</Length {len(shown)}>>stream\n{shown}endstream")
    out, places = b"%PDF-1.4\n", []
    for n, each in enumerate(objects, 1):
        places.append(len(out))
        out += f"{n} 0 obj{each}endobj\n".encode()
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode() + table
    return out + head + f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>startxref\n{len(out)}\n%%EOF".encode()


LEASE = pdf(
    [
        (18, "Lease agreement"),
        (11, "The deposit is 1,250 euro, due on the first of March."),
        (11, "It is given back within two months after the keys."),
        (14, "Pets"),
        (11, "A cat is allowed. Dogs need a written permission of the owner."),
    ],
    [],
    [(11, "Part number AX-4711/B is the boiler in the cellar.")],
)


def docx():
    import docx

    made = docx.Document()
    made.add_heading("Employment contract", 1)
    made.add_paragraph("Your holidays are twenty-eight days a year.")
    made.add_heading("Notice", 2)
    made.add_paragraph("Notice is three months.")
    made.add_page_break()
    made.add_paragraph("Signed in Leipzig.")
    table = made.add_table(2, 2)
    for row, texts in enumerate((("Year", "Salary"), ("2026", "41,000"))):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    return saved(made)


def pptx():
    import pptx

    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Roadmap"
    slide.placeholders[1].text = "Ship the boiler in May"
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    made.slides.add_slide(made.slide_layouts[6])
    return saved(made)


def xlsx():
    import xlsxwriter

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out)
    sheet = book.add_worksheet("Costs")
    sheet.write_row(0, 0, ["Month", "Amount"])
    sheet.write_row(1, 0, ["May", 120])
    book.add_worksheet("Empty")
    book.close()
    return out.getvalue()


def ods():
    cell = "<table:table-cell office:value-type='string'><text:p>{}</text:p></table:table-cell>"
    rows = "".join(
        f"<table:table-row>{cell.format(a)}{cell.format(b)}</table:table-row>"
        for a, b in (("Tool", "Place"), ("Saw", "C7"))
    )
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f"<?xml version='1.0' encoding='UTF-8'?><office:document-content {names} office:version='1.2'><office:body>"
        f"<office:spreadsheet><table:table table:name='Shed'>{rows}</table:table></office:spreadsheet></office:body>"
        "</office:document-content>"
    )
    manifest = "<m:manifest xmlns:m='urn:oasis:names:tc:opendocument:xmlns:manifest:1.0'/>"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return zipped({"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content})


HTML = b"""<html><head><title>Opening hours</title><style>p {}</style></head><body><nav>skip me</nav><h1>Opening</h1>
<p>We open at <b>nine</b>.</p><table><tr><th>Day</th><th>Hour</th></tr><tr><td>Monday</td><td>9</td></tr></table>
<script>alert('x')</script></body></html>"""
MAIL = b"""From: anna@firm.test
To: ben@firm.test
Subject: Boiler
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=cut

--cut
Content-Type: text/plain; charset=utf-8

The boiler comes on Tuesday.

--cut
Content-Type: application/pdf; name="plan.pdf"
Content-Disposition: attachment; filename="plan.pdf"

%PDF
--cut--
"""
MARKDOWN = (
    "# Räume\n\nDie Küche wird montags gereinigt.\n\n```\n# no heading\n```\n\nTeile\n-----\n\nEin Satz.\n".encode()
)
CSV = "name;age\nAnna;7\n\nBob;9\n".encode("utf-8-sig")


def epub():
    container = (
        "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><rootfiles>"
        "<rootfile full-path='OEBPS/content.opf'/></rootfiles></container>"
    )
    package = (
        "<package xmlns='http://www.idpf.org/2007/opf'><metadata xmlns:dc='http://purl.org/dc/elements/1.1/'>"
        "<dc:title>The Whale</dc:title></metadata><manifest><item id='b' href='two.xhtml'/>"
        "<item id='a' href='one.xhtml'/></manifest><spine><itemref idref='a'/><itemref idref='b'/></spine></package>"
    )
    chapter = "<html><body><h2>{}</h2><p>{}</p></body></html>"
    return zipped(
        {
            "META-INF/container.xml": container,
            "OEBPS/content.opf": package,
            "OEBPS/one.xhtml": chapter.format("Loomings", "Call me Ishmael."),
            "OEBPS/two.xhtml": chapter.format("The Carpet-Bag", "I stuffed a shirt or two."),
        }
    )


def saved(made):
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()
