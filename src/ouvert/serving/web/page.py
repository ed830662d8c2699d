"""GET / and what it needs: the web page, which web/ is built into, as browsers get it."""

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal

FOLDER = Path(__file__).with_name("built")
RUNNING = "Ollama is running"  # what Ollama's clients look for at /
# Beside the policy, which is built with the page. Browsers look names in links up before a click, unless told not to.
HEADERS = {
    "referrer-policy": "no-referrer",
    "x-dns-prefetch-control": "off",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), interest-cohort=()",
}
FOREVER = "public, max-age=31536000, immutable"  # the names of assets hold their digest
ASK_AGAIN = "no-cache"


def page_files(folder: Path) -> Mapping[str, Path]:
    """Path in an address -> file: only what was there at the start can be asked for, so no address is a path."""
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


FILES = page_files(FOLDER)


async def front(call: Call) -> Response:
    """The page for browsers; for others the line that Ollama's clients look for."""
    if "text/html" not in call.request.headers.get("accept", ""):
        return Response(RUNNING, media_type="text/plain")
    return file_answer(call.request, "index.html")


async def asset(call: Call) -> Response:
    return file_answer(call.request, "assets/" + str(call.request.path_params["name"]))


async def icon(call: Call) -> Response:
    return file_answer(call.request, "icon.svg")


def file_answer(request: Request, name: str) -> Response:
    if name not in FILES:
        raise Refusal(404, f"The page has no file {name!r:.100}. Reload it: the server may have been updated.")
    content = FILES[name].read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "etag": tag, "cache-control": FOREVER if name.startswith("assets/") else ASK_AGAIN}
    if name == "index.html":
        headers["content-security-policy"] = FILES["content-security-policy.txt"].read_text("utf-8").strip()
        headers["vary"] = "Accept"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = "font/woff2" if name.endswith(".woff2") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, headers=headers, media_type="text/javascript" if name.endswith(".js") else kind)
