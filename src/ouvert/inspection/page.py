"""A trace as one HTML file: what is seen of it, the words of the conversation included, and nothing from elsewhere.

The file's policy lets in its own script and style, by their digests, and no connection; so it opens from a disk, asks
nobody for anything, and prints. Its template is built from web/ (`make web`). The data are JSON, gzip, base64.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("built") / "trace.html"
PLACE_OF_DATA = b"TRACE-DATA"


def page(trace: Mapping[str, Any], views: Iterable[Mapping[str, Any]]) -> bytes:
    """The file, UTF-8. `trace`: the summary of docs/formats/trace.md; `views`: the JSON of each view that it shows.

    Raises ValueError for numbers that JSON does not have (NaN, infinity).
    """
    data = {"trace": trace, "views": list(views)}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0))  # no time: the same trace is the same file
    before, after = TEMPLATE.read_bytes().split(PLACE_OF_DATA)
    return before + packed + after
