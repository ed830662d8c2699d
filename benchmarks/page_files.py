"""How long kept pages take from the disk, checked: a prompt of 6,000 tokens of gpt-oss-20b unless told otherwise.

    python benchmarks/page_files.py [--pages 94] [--bytes 3140000] [--repeat 5]

The pages are in the system's page cache, as they are on a machine with memory to spare. Medians, and the best.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from ouvert.engine import PageFiles, key_from_passphrase


def row_of(kind: str, files: PageFiles, page: bytes, pages: int, repeats: int) -> str:
    """Seconds of writing so many pages, of reading them one after the other, and ahead."""
    names = [files.name("", [n]) for n in range(pages)]
    began = time.perf_counter()
    assert all(files.write(name, page) for name in names)
    written = time.perf_counter() - began
    one, many = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        assert all(files.read(name) is not None for name in names)
        one.append(time.perf_counter() - began)
        began = time.perf_counter()
        assert all(found is not None for found in files.read_many(names))
        many.append(time.perf_counter() - began)
    return (
        f"| {kind} | {written:.2f} | {statistics.median(one):.2f} | {statistics.median(many):.2f} ({min(many):.2f}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=94)
    parser.add_argument("--bytes", type=int, default=3_140_000, help="of a page")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    page = os.urandom(options.bytes)
    print("| | written, s | read one after the other, s | read ahead, s (best) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, key in (("plain", None), ("encrypted", os.urandom(32))):
            files = PageFiles(Path(folder) / kind, quota=10**11, key=key)
            print(row_of(kind, files, page, options.pages, options.repeat))
        began = time.perf_counter()
        key_from_passphrase("a passphrase", Path(folder))
        print(f"\na key from a passphrase: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
