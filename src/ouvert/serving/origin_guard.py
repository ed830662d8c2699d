"""Which requests are let in: by the Host they name and the page they come from; and what browsers are told."""

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ouvert.serving.errors import Refusal, dialect_of
from ouvert.serving.settings import Settings
from ouvert.serving.streams import JSONAnswer

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
ALLOWED_METHODS = "GET, POST, PUT, DELETE, HEAD, OPTIONS"
ABSOLUTE = re.compile(rb"https?://([^/]*)(/[^?]*)?", re.IGNORECASE)
EXPOSED = "x-ouvert-receipt, ouvert-release-state, retry-after"


class HostAndOriginGuard:
    """Refuses foreign hosts and pages, answers preflights, and lets everything else through.

    Browsers carry a page's requests to any address, this machine's too. A page elsewhere that has had its name point
    here (DNS rebinding) betrays itself by the Host it asks for; any other page by its Origin.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._header_bytes = settings.header_bytes
        self._names = frozenset(name.lower() for name in settings.names)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = addressed(scope)
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        size = sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope["raw_path"])
        refusal = self._refusal(host, origin, len(headers.getlist("host")), size)
        if refusal is not None:
            await JSONAnswer(dialect_of(scope["path"])(refusal), refusal.status)(scope, receive, send)
            return
        shared = [] if origin is None else cors(origin)
        if scope["method"] == "OPTIONS" and origin is not None and "access-control-request-method" in headers:
            asked = headers.get("access-control-request-headers", "")
            allowed = {
                "access-control-allow-methods": ALLOWED_METHODS,
                "access-control-allow-headers": asked,
                "access-control-max-age": "600",
            }
            response = JSONAnswer(None, 204, allowed)
            response.body = b""
            del response.headers["content-length"], response.headers["content-type"]
            response.raw_headers += shared
            await response(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *shared, (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, host: str, origin: str | None, hosts: int, size: int) -> Refusal | None:
        if size > self._header_bytes:
            return Refusal(
                431,
                f"The headers are {size} bytes long, and this server reads {self._header_bytes}.",
                code="headers_too_large",
            )
        name = host_name(host)
        if hosts != 1 or name is None or not self._is_ours(name):
            return Refusal(
                403,
                f"This server is not called {host!r:.200}. Ask localhost or an address, or let its owner add the name "
                "with --name.",
                code="host_not_allowed",
            )
        if origin is None or origin.lower() in self._origins:
            return None
        page = urlsplit(origin) if "://" in origin else None
        name = None if page is None or page.scheme not in ("http", "https") else host_name(page.netloc)
        if page is not None and name is not None and (is_local(name) or page.netloc.lower() == host.lower()):
            return None
        return Refusal(
            403,
            f"The page {origin!r:.200} may not use this server. Its owner can allow it with --origin.",
            code="origin_not_allowed",
        )

    def _is_ours(self, name: str) -> bool:
        """An address cannot be rebound; a name can, unless it is known."""
        if is_local(name) or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def addressed(scope: Scope) -> Scope:
    """The request with its path as it is listed: without a slash at its end, and without the `http://host` that clients
    send to what they take for a proxy (RFC 9112, 3.2.2), if it is the host they ask for."""
    path, raw_path = scope["path"], scope["raw_path"]
    absolute = ABSOLUTE.fullmatch(raw_path)
    if absolute is not None and [absolute[1]] == [value for name, value in scope["headers"] if name == b"host"]:
        raw_path = absolute[2] or b"/"
        path = unquote(raw_path.decode("ascii"))
    if len(path) > 1 and path.endswith("/") and not path.endswith("//"):
        path = path[:-1]
    return {**scope, "path": path, "raw_path": raw_path}


def is_local(name: str) -> bool:
    return name in LOCAL_NAMES or name.endswith(".localhost")


def host_name(host: str) -> str | None:
    """The name in a Host header or the netloc of an origin, in small letters; None if it has no such form."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        return None
    return parts.hostname.rstrip(".")


def refuse_other_pages(request: Request) -> None:
    """A page on another port of this machine is another program's. It may talk to models, not read what is stored."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    same = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not same or site not in ("same-origin", "none"):
        raise Refusal(
            403,
            f"What is stored here is for this server's own page, and {origin or 'another page'!r:.200} asks for it. "
            "Export conversations from the page, or read the files.",
            code="origin_not_allowed",
        )


def cors(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1", "replace")),
        (b"access-control-expose-headers", EXPOSED.encode()),
        (b"vary", b"Origin"),
    ]
