"""Every kind of file, read by the program that reads it in the box."""

import importlib.util
import json
from pathlib import Path

import pytest

from ouvert.documents import DocumentError, UnreadableFile
from ouvert.documents import boxed as boxed_reading
from ouvert.documents.reader.shape import Block, reading_from

spec = importlib.util.spec_from_file_location("files_of_documents", Path(__file__).with_name("files.py"))
assert spec
assert spec.loader
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)


def read(name, data, run):
    return boxed_reading.read(name, data, run)


def texts(reading):
    return [[(block.text, block.level) for block in page.blocks] for page in reading.pages]


def test_a_pdf_has_pages_headings_by_size_and_scans_that_are_flagged(run_beside):
    reading = read("lease.pdf", files.LEASE, run_beside)
    assert texts(reading)[0] == [
        ("Lease agreement", 1),
        (
            "The deposit is 1,250 euro, due on the first of March.\nIt is given back within two months after the keys.",
            0,
        ),
        ("Pets", 2),
        ("A cat is allowed. Dogs need a written permission of the owner.", 0),
    ]
    assert [page.scan for page in reading.pages] == [False, True, False]
    assert reading.paged


def test_a_docx_keeps_headings_tables_and_page_breaks(run_beside):
    reading = read("job.docx", files.docx(), run_beside)
    assert [block for page in texts(reading) for block in page] == [
        ("Employment contract", 1),
        ("Your holidays are twenty-eight days a year.", 0),
        ("Notice", 2),
        ("Notice is three months.", 0),
        ("Signed in Leipzig.", 0),
        ("Year | Salary", 0),
        ("Year: 2026; Salary: 41,000", 0),
    ]
    assert len(reading.pages) == 2
    assert reading.pages[1].blocks[0].text == "Signed in Leipzig."


def test_a_slide_is_a_page_with_its_notes_and_an_empty_one_is_a_scan(run_beside):
    reading = read("talk.pptx", files.pptx(), run_beside)
    assert texts(reading)[0] == [("Roadmap", 1), ("Ship the boiler in May", 0), ("Say it slowly.", 0)]
    assert [page.scan for page in reading.pages] == [False, True]


@pytest.mark.parametrize(
    ("name", "made", "expected"),
    [
        ("costs.xlsx", files.xlsx, [("Costs", 1), ("Month | Amount", 0), ("Month: May; Amount: 120", 0)]),
        ("shed.ods", files.ods, [("Shed", 1), ("Tool | Place", 0), ("Tool: Saw; Place: C7", 0)]),
    ],
)
def test_a_sheet_is_a_page_and_its_rows_name_their_columns(name, made, expected, run_beside):
    assert texts(read(name, made(), run_beside))[0] == expected


def test_html_loses_what_is_no_text(run_beside):
    reading = read("hours.html", files.HTML, run_beside)
    assert reading.title == "Opening hours"
    assert texts(reading) == [[("Opening", 1), ("We open at nine.", 0), ("Day | Hour", 0), ("Monday | 9", 0)]]


def test_a_mail_keeps_its_head_and_names_what_was_not_read(run_beside):
    reading = read("boiler.eml", files.MAIL, run_beside)
    assert texts(reading)[0][-1] == ("The boiler comes on Tuesday.", 0)
    assert reading.title == "Boiler"
    assert reading.notes == ("attachment not read: plan.pdf",)


def test_markdown_knows_fences_and_underlined_headings(run_beside):
    (page,) = texts(read("rooms.md", files.MARKDOWN, run_beside))
    assert page == [
        ("Räume", 1),
        ("Die Küche wird montags gereinigt.", 0),
        ("```\n# no heading\n```", 0),
        ("Teile", 2),
        ("Ein Satz.", 0),
    ]


def test_csv_finds_its_separator(run_beside):
    (page,) = texts(read("people.csv", files.CSV, run_beside))
    assert [text for text, _ in page] == ["name | age", "name: Anna; age: 7", "name: Bob; age: 9"]


def test_an_epub_is_read_in_the_order_of_its_spine(run_beside):
    reading = read("whale.epub", files.epub(), run_beside)
    assert reading.title == "The Whale"
    assert [page[0][0] for page in texts(reading)] == ["Loomings", "The Carpet-Bag"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("naïve".encode("utf-16"), "naïve"),
        ("naïve".encode("cp1252"), "naïve"),
        (b"one\ftwo", "one"),
        (b"a\x07b\tc\xe2\x80\x8bd", "ab    cd"),
        (b"one line\x0banother", "one line another"),
    ],
)
def test_text_is_decoded_and_holds_nothing_that_a_screen_does_not_take(data, expected, run_beside):
    assert read("a.txt", data, run_beside).pages[0].text == expected


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.pdf", b"%PDF-1.4 nothing", "damaged, or no PDF"),
        ("a.docx", b"PK\x03\x04 no archive", "damaged"),
        ("a.xlsx", b"\x00\x01", "no sheet"),
        ("a.epub", files.zipped({"x": "y"}), "damaged"),
        ("a.txt", b"\x00\xff\x00\xff", "zero bytes"),
        ("a.txt", b"", "empty"),
        ("a.exe", b"MZ", "are not read"),
    ],
)
def test_what_cannot_be_read_is_said(name, data, said, run_beside):
    with pytest.raises(UnreadableFile, match=said):
        read(name, data, run_beside)


def test_entities_of_an_epub_do_not_expand(run_beside):
    bomb = "<!DOCTYPE a [<!ENTITY x 'xx'><!ENTITY y '&x;&x;'>]><container>&y;</container>"
    with pytest.raises(UnreadableFile):
        read("bomb.epub", files.zipped({"META-INF/container.xml": bomb}), run_beside)


@pytest.mark.parametrize(
    "written",
    [b"", b"{}", b'{"reading": 2}', json.dumps({"reading": 1, "kind": 3}).encode(), b"[" * 100_000],
)
def test_what_a_hijacked_reader_writes_is_not_believed(written, run_beside):
    with pytest.raises(UnreadableFile, match="not as it should be"):
        read("a.txt", b"x", lambda argv, data: boxed_reading.Ran(0, written, ""))


def test_a_reader_that_was_ended_is_said_with_the_reason(run_beside):
    with pytest.raises(UnreadableFile, match="took more than 30 seconds"):
        read("a.txt", b"x", lambda argv, data: boxed_reading.Ran(None, b"", "it took more than 30 seconds"))


def test_a_library_that_is_missing_is_named_with_what_to_install():
    with pytest.raises(DocumentError, match=r"not installed here: python-docx.*extra `documents`"):
        read("a.docx", b"x", lambda argv, data: boxed_reading.Ran(4, b"", "docx"))


def test_a_reading_comes_back_as_it_was_written(run_beside):
    reading = read("rooms.md", files.MARKDOWN, run_beside)
    assert reading_from(reading.as_json()) == reading
    assert reading.pages[0].blocks[0] == Block("Räume", 1)


def test_a_page_picture_has_the_words_marked(run_beside):
    plain = boxed_reading.picture("lease.pdf", files.LEASE, 1, "", run_beside)
    marked = boxed_reading.picture("lease.pdf", files.LEASE, 1, "The deposit is 1,250 euro", run_beside)
    nowhere = boxed_reading.picture("lease.pdf", files.LEASE, 1, "no such words", run_beside)
    assert plain[:8] == b"\x89PNG\r\n\x1a\n"
    assert nowhere == plain
    assert yellow_rows(plain) == set()
    rows = yellow_rows(marked)
    height = 842 * 1.6
    assert min(rows) > 20
    assert max(rows) < height / 8  # the words stand near the top


def yellow_rows(png):
    import struct
    import zlib

    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT") + 4
    size = struct.unpack(">I", png[start - 8 : start - 4])[0]
    rows = zlib.decompress(png[start : start + size])
    stride = 3 * width + 1
    return {y for y in range(height) if bytes((255, 225, 80)) in rows[y * stride + 1 : (y + 1) * stride]}


def test_only_pages_that_are_there_are_drawn(run_beside):
    with pytest.raises(UnreadableFile, match=r"page 9 was asked for, and it has 3: ask for one of 1 to 3\.$"):
        boxed_reading.picture("lease.pdf", files.LEASE, 9, "", run_beside)
    with pytest.raises(UnreadableFile, match="only PDF"):
        boxed_reading.picture("a.txt", b"x", 1, "", run_beside)


def test_a_mail_in_an_encoding_that_nobody_knows_is_read(run_beside):
    data = b"Subject: x\nContent-Type: text/plain; charset=unknown-8bit\n\nThe d\xc3\xa9p\xc3\xb4t.\n"
    assert "The dépôt." in read("a.eml", data, run_beside).pages[0].text
