"""Bodies that come compressed: unpacked, never beyond what the server reads; other codings are refused by name."""

import zlib

from ouvert.serving.errors import Refusal

# Coding -> how zlib is told to read it. deflate is zlib's form by the standard, and bare in what some clients send.
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
MOST_CODINGS = 2
MOST_MEMBERS = 16  # gzip files that follow each other; each is copied to reach the next
ACCEPTED = "gzip, deflate"


def codings_of(header: str) -> list[str]:
    """The codings of a Content-Encoding header in the order in which they were applied. Raises Refusal 415."""
    codings = [coding for each in header.split(",") if (coding := each.strip().lower()) not in ("", "identity")]
    strange = [coding for coding in codings if coding not in WINDOW_BITS]
    if strange or len(codings) > MOST_CODINGS:
        raise Refusal(
            415,
            f"The body's Content-Encoding is {header!r:.100}, and this server reads {ACCEPTED}, or a body that is not "
            "compressed. Send it as one of these.",
            code="unsupported_content_encoding",
            param="content-encoding",
            headers={"accept-encoding": ACCEPTED},
        )
    return codings


def unpacked(body: bytes, codings: list[str], limit: int) -> bytes | None:
    """The body before it was compressed; None if that is longer than `limit` bytes. Raises Refusal 400."""
    for coding in reversed(codings):
        try:
            unpacked_once = inflated(body, coding, limit)
        except zlib.error as problem:
            raise Refusal(
                400,
                f"The body is not {coding}, which its Content-Encoding says it is: {problem}. Compress it so, or leave "
                "the header out.",
                code="invalid_content_encoding",
                param="content-encoding",
            ) from None
        if unpacked_once is None:
            return None
        body = unpacked_once
    return body


def inflated(body: bytes, coding: str, limit: int) -> bytes | None:
    """One coding undone. Raises zlib.error for what is not of that coding, or is cut off."""
    bits = WINDOW_BITS[coding]
    if coding == "deflate" and not is_zlib(body):
        bits = -zlib.MAX_WBITS
    pieces: list[bytes] = []
    size = 0
    while body or not pieces:
        reader = zlib.decompressobj(bits)
        piece = reader.decompress(body, limit - size + 1)
        size += len(piece)
        if size > limit:
            return None
        if not reader.eof:
            raise zlib.error("it ends before it is whole")
        pieces.append(piece)
        if len(pieces) == MOST_MEMBERS:
            raise zlib.error(f"it has more than {MOST_MEMBERS} parts")
        body = b"" if coding == "deflate" else reader.unused_data
    return b"".join(pieces)


def is_zlib(body: bytes) -> bool:
    """Whether the bytes begin as RFC 1950 says."""
    return len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
