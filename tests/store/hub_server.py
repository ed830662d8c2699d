"""A small hub on this machine that speaks the real one's API: listing, redirects to another path, ranges, faults.

What it says was taken from huggingface_hub's own requests and from https://huggingface.co/docs/hub/api.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee00" * 5


@dataclass
class Fault:
    """How the server misbehaves for one file."""

    cut_after: int | None = None  # bytes of each answer before the connection is dropped
    cuts: int = 0  # how many times
    corrupt: bool = False  # another body of the same length
    ignores_ranges: bool = False
    too_long: bool = False
    status: int | None = None  # answered instead of the file, `cuts` times
    hold_after: int | None = None  # bytes of each answer after which nothing comes until `released`
    released: Event = field(default_factory=Event)


@dataclass
class TinyHub:
    """Repositories: name -> file name -> content. Files in `large` are in large-file storage, as weights are."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    faults: dict[str, Fault] = field(default_factory=dict)
    commit: str = COMMIT
    card: dict[str, str] = field(default_factory=lambda: {"license": "apache-2.0"})
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    sent: dict[str, int] = field(default_factory=dict)  # file name -> bytes of body sent, all answers together
    lock: Lock = field(default_factory=Lock)
    address: str = ""
    elsewhere: str = ""  # another address for large files, as when they come from a content network
    portal: bytes = b""  # answered to everything, as by a network that wants people to sign in
    lies: dict[str, object] = field(default_factory=dict)  # said of every file in large-file storage

    def ranges(self, name: str) -> list[str | None]:
        """The Range of every request for the content of `name`, in order."""
        return [
            headers.get("range") for _, path, headers in self.requests if path.startswith("/content/") and name in path
        ]

    @contextmanager
    def serving(self) -> Iterator["TinyHub"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def is_large(name: str) -> bool:
    return name.endswith((".gguf", ".safetensors", ".bin"))


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sibling(name: str, content: bytes, lies: dict[str, object]) -> dict[str, object]:
    facts: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
    if is_large(name):
        facts["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134} | lies
    return facts


class HubHandler(BaseHTTPRequestHandler):
    hub: ClassVar[TinyHub]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; do not wait between them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        with self.hub.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.hub.requests.append((self.command, path, headers))
        if self.hub.portal:
            return self.answer(200, self.hub.portal, {"Content-Type": "text/html"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self.listing(found[1], found[2], "blobs" in parse_qs(url.query))
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(found[1], found[2], found[3])
        if found := re.fullmatch(r"/content/([^/]+/[^/]+)/(.+)", path):
            return self.content(found[1], found[2])
        return self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def listing(self, repository: str, revision: str | None, with_sizes: bool) -> None:
        if repository in self.hub.gated and "authorization" not in {name.lower() for name in self.headers}:
            return self.refuse(403, "GatedRepo")
        if repository not in self.hub.repositories:
            return self.refuse(404, "RepoNotFound")
        if revision not in (None, "main", self.hub.commit):
            return self.refuse(404, "RevisionNotFound")
        files = self.hub.repositories[repository]
        body = {
            "id": repository,
            "sha": self.hub.commit,
            "cardData": self.hub.card,
            "siblings": [
                sibling(name, content, self.hub.lies) if with_sizes else {"rfilename": name}
                for name, content in files.items()
            ],
        }
        return self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def resolve(self, repository: str, revision: str, name: str) -> None:
        """Small files come from here, large ones from elsewhere, as with the real one."""
        content = self.hub.repositories.get(repository, {}).get(name)
        if content is None or revision != self.hub.commit:
            return self.refuse(404, "EntryNotFound")
        facts = {"X-Repo-Commit": self.hub.commit, "ETag": f'"{git_sha1(content)}"', "Accept-Ranges": "bytes"}
        if is_large(name):
            facts["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            facts["X-Linked-Size"] = str(len(content))
            facts["Location"] = f"{self.hub.elsewhere}/content/{repository}/{name}"
            return self.answer(302, b"", facts)
        return self.content(repository, name)

    def content(self, repository: str, name: str) -> None:
        content = self.hub.repositories[repository][name]
        fault = self.hub.faults.get(name, Fault())
        with self.hub.lock:
            cut = fault.cuts > 0
            fault.cuts -= cut
        if cut and fault.status:
            return self.refuse(fault.status, "Busy")
        if fault.corrupt:
            content = bytes(len(content) // 2) + content[len(content) // 2 :]
        if fault.too_long:
            content += b"more"
        start, status, facts = 0, 200, {"Accept-Ranges": "bytes"}
        if (wanted := self.headers.get("Range")) and not fault.ignores_ranges:
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            facts["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if cut and fault.cut_after is not None:
            return self.answer(status, body, facts, cut_after=fault.cut_after, name=name)
        return self.answer(status, body, facts, name=name, fault=fault)

    def answer(
        self,
        status: int,
        body: bytes,
        facts: dict[str, str],
        cut_after: int | None = None,
        name: str = "",
        fault: Fault | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in facts.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        piece = body[:cut_after]
        first = len(piece) if fault is None or fault.hold_after is None else fault.hold_after
        self.wfile.write(piece[:first])
        if fault is not None and first < len(piece):
            fault.released.wait(60)
        try:
            self.wfile.write(piece[first:])
        except OSError:  # the client has gone meanwhile
            self.close_connection = True
            return
        with self.hub.lock:
            self.hub.sent[name] = self.hub.sent.get(name, 0) + len(piece)
        if cut_after is not None:
            self.wfile.flush()
            self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})


def handler_of(hub: TinyHub) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (HubHandler,), {"hub": hub})
