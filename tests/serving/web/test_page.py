"""The page as the server hands it out, and its own addresses: what browsers are told, who may ask, what is kept."""

import hashlib
import json
import re
import stat
from pathlib import Path

import pytest

from ouvert.assistant import bytes_in_memory
from ouvert.serving.web.models import fit
from ouvert.serving.web.page import FILES, FOLDER

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ID = "a" * 16
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(start_server, speaking_model, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    return start_server(models=(str(model),), state=tmp_path_factory.mktemp("state") / "server", memory=1 << 40)


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client
        client.delete("/api/ui/conversations")


def conversation(**more):
    message = {"id": "m1", "parent": None, "role": "user", "text": "Bonjour", "created": "2026-11-25T00:00:00Z"}
    start = {"ouvert_conversation": 1, "id": ID, "title": "A talk", "revision": 0, "messages": [message], "leaf": "m1"}
    return start | more


def test_the_page_was_built_from_these_sources():
    """What `record-sources` in web/vite.config.ts writes, computed again without Node."""
    web = ROOT / "web"
    named = re.search(r"const SOURCES = (\[.*?\]);", (web / "vite.config.ts").read_text())
    files = []
    for source in json.loads(named[1]):
        path = web / source
        files += [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    lines = sorted(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(web).as_posix()}\n" for file in files
    )
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert (FOLDER / "sources.sha256").read_text().strip() == digest, "web/ has changed: run `make web` and commit"


def test_the_lock_file_names_no_registry():
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    for package in lock["packages"].values():
        package.pop("funding", None)  # where their authors take donations
    assert "://" not in json.dumps(lock)


def test_browsers_get_the_page_and_programs_get_ollamas_line(client):
    page = client.get("/", headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    assert '<div id="app">' in page.text
    for accept in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        answer = client.get("/", headers=accept)
        assert (answer.status_code, answer.text) == (200, "Ollama is running")
    head = client.head("/")
    assert (head.status_code, head.headers["content-length"], head.text) == (200, "17", "")


def test_the_policy_lets_nothing_in_and_nothing_out(client):
    policy = dict(
        part.strip().split(" ", 1)
        for part in client.get("/", headers=HTML).headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert not re.search(r"unsafe|https?:|\*|data:|blob:", " ".join(policy.values()))


def test_the_page_names_no_other_host():
    """Addresses in the built files are names of XML vocabularies and documentation, none of which is fetched."""
    html = (FOLDER / "index.html").read_text()
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", html)
    assert all(link.startswith("./") for link in re.findall(r'(?:src|href)="([^"]+)"', html))
    for name, file in FILES.items():
        if name.endswith(".css"):
            assert all(address.startswith("./") for address in re.findall(r"url\(([^)]*)\)", file.read_text()))


def test_assets_are_kept_for_ever_and_the_page_is_asked_for_again(client):
    page = client.get("/", headers=HTML)
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/", headers=HTML | {"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page.text):
        answer = client.get("/" + name)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")


@pytest.mark.parametrize(
    "path",
    ["/assets/../app.py", "/assets/..%2f..%2fapp.py", "/assets/%2e%2e/index.html", "/assets/", "/assets/nothing.js"],
)
def test_no_address_is_a_path(client, path):
    assert client.get(path).status_code == 404


def test_a_conversation_is_kept_found_exported_and_deleted(server, client):
    kept = client.put(f"/api/ui/conversations/{ID}", json=conversation()).json()
    assert kept["revision"] == 1
    assert client.get(f"/api/ui/conversations/{ID}").json() == kept
    [found] = client.get("/api/ui/conversations", params={"query": "BONJOUR"}).json()["conversations"]
    assert (found["id"], found["excerpt"]) == (ID, "Bonjour")
    assert client.get("/api/ui/conversations", params={"query": "absent"}).json()["conversations"] == []
    export = client.get("/api/ui/export").json()
    file = server.service.settings.state / "conversations" / f"{ID}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert client.delete(f"/api/ui/conversations/{ID}").status_code == 200
    assert not file.exists()
    assert client.get(f"/api/ui/conversations/{ID}").status_code == 404
    assert client.post("/api/ui/import", json=export).json() == {"added": [ID], "unchanged": [], "copied": []}
    assert client.get(f"/api/ui/conversations/{ID}").json() == kept


def test_a_stale_write_is_a_conflict_and_nonsense_a_bad_request(client):
    address = f"/api/ui/conversations/{ID}"
    client.put(address, json=conversation())
    stale = client.put(address, json=conversation())
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "changed_meanwhile")
    assert client.put(address, json=conversation(title=7)).status_code == 400
    assert client.put(address, content=b"[]").status_code == 400
    assert client.get("/api/ui/conversations/no-such-id").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:9"},
        {"origin": "null"},
        {"origin": "https://evil.test"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_pages_may_not_read_conversations(client, headers):
    for path in ("/api/ui/conversations", "/api/ui/export", "/api/ui/models"):
        assert client.get(path, headers=headers).status_code == 403
    assert client.delete("/api/ui/conversations", headers=headers).status_code == 403


def test_our_own_page_may(server, client):
    headers = {"origin": server.base, "sec-fetch-site": "same-origin"}
    assert client.get("/api/ui/conversations", headers=headers).status_code == 200


def test_models_come_with_their_state_and_fit(server, client):
    [record] = client.get("/api/ui/models").json()["models"]
    assert record["id"] == "tiny"
    assert record["state"] in ("loading", "loaded")
    assert record["fit"] == {
        "state": "fits",
        "needs_bytes": bytes_in_memory(server.service.loaded_models.catalog.first[0]),
        "available_bytes": server.service.settings.memory,
    }


def test_a_small_model_is_called_a_toy_before_it_is_loaded_and_one_of_embeddings_is_not_offered(
    start_server, speaking_model, embedding_model, tmp_path
):
    speaks, broken = tmp_path / "speaks", tmp_path / "broken.gguf"
    speaks.symlink_to(speaking_model())
    broken.write_bytes(b"GGUF but no more")
    with start_server(models=(str(speaks), str(broken), str(embedding_model))).client() as client:
        small, damaged = client.get("/api/ui/models").json()["models"]
    assert small["toy"] is True
    assert small["parameters"] < 1_000_000
    assert small["context"] == 2048
    assert "broken.gguf" in damaged["fault"]
    assert "toy" not in damaged


def test_fit_is_decided_by_what_models_may_use():
    assert [fit(needs, 100) for needs in (1, 85, 86, 100, 101)] == ["fits", "fits", "tight", "tight", "too_large"]
    assert fit(101, 100, experts=True) == "tight"  # they are read from disk


def test_a_server_that_keeps_nothing_says_so(start_server):
    with start_server().client() as client:
        answer = client.get("/api/ui/conversations")
        assert answer.status_code == 503
        assert "keeps no conversations" in answer.json()["error"]["message"]


def test_each_key_has_its_own_conversations(start_server, tmp_path):
    from ouvert.serving import Keys

    keys = Keys(tmp_path)
    secrets = [keys.create(name)[1] for name in ("one", "two")]
    with start_server(state=tmp_path, key_required=True).client() as client:
        assert client.get("/", headers=HTML).status_code == 200
        assert client.get("/api/ui/conversations").status_code == 401
        first, second = ({"authorization": f"Bearer {secret}"} for secret in secrets)
        assert client.put(f"/api/ui/conversations/{ID}", json=conversation(), headers=first).status_code == 200
        assert client.get(f"/api/ui/conversations/{ID}", headers=second).status_code == 404
        assert len(client.get("/api/ui/conversations", headers=first).json()["conversations"]) == 1
        assert client.get("/api/ui/conversations", headers=second).json()["conversations"] == []
