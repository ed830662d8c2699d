"""/ouvert/documents, and answers from documents in every dialect: the same citations, each in its own form."""

import importlib.util
import json
from pathlib import Path

import pytest

from ouvert.documents import Collections, in_a_box
from ouvert.serving import Keys

spec = importlib.util.spec_from_file_location("document_files", Path(__file__).parents[1] / "documents" / "files.py")
assert spec
assert spec.loader
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)

LEASE = b"# Lease\n\nThe deposit is 1,250 euro.\n\n## Pets\n\nA cat is allowed.\n"
SAYS = {"\n": "It is 1,250 euro ", "It is 1,250 euro ": "[1", "[1": "], ", "], ": "not [9].", "not [9].": "<|im_end|>"}
TEXT = "It is 1,250 euro [1], not [unsupported]."
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "How much is the deposit?"}], "max_tokens": 50}
FROM = {"ouvert": {"documents": ["contracts"]}}


@pytest.fixture
def server(start_server, speaking_model, tmp_path):
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model(SAYS))
    return start_server(models=(str(model),), home=tmp_path / "home", state=tmp_path / "state")


@pytest.fixture
def client(server):
    with server.client() as client:
        assert client.put("/ouvert/documents/contracts/lease.md", content=LEASE).status_code == 201
        yield client


def test_documents_are_added_listed_searched_shown_and_removed(client, tmp_path):
    assert [each["name"] for each in client.get("/ouvert/documents").json()["data"]] == ["contracts"]
    (document,) = client.get("/ouvert/documents/contracts").json()["data"]
    assert (document["title"], document["pages"]) == ("Lease", 1)
    assert "source" not in document
    found = client.post("/ouvert/documents/contracts/search", json={"question": "cats", "most": 3}).json()["data"]
    assert found[0]["path"] == ["Lease", "Pets"]
    shown = client.get(f"/ouvert/documents/contracts/{document['id']}").json()
    assert shown["pages"][0]["text"].startswith("Lease\n\nThe deposit")
    receipt = client.delete("/ouvert/documents/contracts/lease.md").json()
    assert receipt["removed"][0]["passages"] == 2
    kept = b"".join(each.read_bytes() for each in (tmp_path / "home" / "documents").rglob("*") if each.is_file())
    assert b"deposit" not in kept
    assert client.delete("/ouvert/documents/contracts").status_code == 200
    assert client.get("/ouvert/documents").json()["data"] == []


def test_a_citation_leads_to_the_page_with_the_cited_words_in_it(client):
    answered = client.post("/v1/chat/completions", json={**ASKED, **FROM}).json()
    (annotation,) = answered["choices"][0]["message"]["annotations"]
    path, _, fragment = annotation["url_citation"]["url"].partition("#")
    place = client.get(f"{path}/places/{fragment.partition('chars=')[2]}").json()
    assert place["quote"] == "The deposit is 1,250 euro."
    assert place["before"].startswith("Lease")
    assert "A cat is allowed." in place["after"]
    assert (place["name"], place["page"], place["pictured"], place["next"]) == ("lease.md", 1, False, None)


def test_the_words_that_are_marked_are_those_at_the_place_and_not_the_same_words_before(client):
    twice = files.pdf([(11, "Rent is due."), (11, "Then: Rent is due.")], [(11, "Page two.")])
    document = client.put("/ouvert/documents/contracts/twice.pdf", content=twice).json()
    at = f"/ouvert/documents/contracts/{document['id']}"
    text = client.get(at).json()["pages"][0]["text"]
    first, second = text.index("Rent is due."), text.rindex("Rent is due.")
    pictures = [client.get(f"{at}/pages/1?chars={start}-{start + 12}").content for start in (first, second)]
    assert pictures[0] == client.get(f"{at}/pages/1?mark=Rent is due.").content
    assert pictures[0] != pictures[1]
    plain = client.get(f"{at}/pages/1").content
    assert plain not in pictures
    place = client.get(f"{at}/places/{second}-{second + 12}").json()
    assert (place["quote"], place["pages"], place["pictured"], place["previous"]) == ("Rent is due.", 2, True, None)
    turned = client.get(f"{at}/places/{place['next']}-{place['next']}").json()
    assert (turned["page"], turned["quote"], turned["after"]) == (2, "", "Page two.")
    assert client.get(f"{at}/places/0-99999").status_code == 400
    assert client.get(f"{at}/places/x").status_code == 400


def test_what_changed_on_the_disk_is_read_again(client, tmp_path):
    file = tmp_path / "notes.md"
    file.write_text("# Notes\n\nThe cellar is dry.\n")
    with Collections(tmp_path / "home", in_a_box()).create("notes") as collection:
        collection.add_path(file)
    file.write_text("# Notes\n\nThe cellar is wet, alas.\n")
    changes = client.post("/ouvert/documents/notes/update").json()
    assert changes == {"added": [], "changed": ["notes.md"], "unchanged": [], "missing": [], "refused": []}
    assert "wet" in client.get("/ouvert/documents/notes/notes.md").json()["pages"][0]["text"]
    assert client.post("/ouvert/documents/absent/update").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/ouvert/documents/absent", None, 404),
        ("GET", "/ouvert/documents/contracts/absent.md", None, 404),
        ("DELETE", "/ouvert/documents/absent", None, 404),
        ("DELETE", "/ouvert/documents/contracts/absent", None, 404),
        ("PUT", "/ouvert/documents/contracts/a.exe", b"MZ", 422),
        ("PUT", "/ouvert/documents/contracts/a.pdf", b"%PDF-1.4 nothing", 422),
        ("PUT", "/ouvert/documents/Contracts/a.txt", b"x", 400),
        ("GET", "/ouvert/documents/contracts/lease.md/pages/1", None, 422),
        ("GET", "/ouvert/documents/contracts/lease.md/pages/x", None, 404),
    ],
)
def test_what_is_not_there_or_cannot_be_is_refused(client, method, path, body, status):
    answered = client.request(method, path, content=body)
    assert answered.status_code == status
    assert answered.json()["error"]["message"]
    assert str(client.base_url) not in answered.text


def test_chat_completions_annotates_and_the_receipt_counts(client):
    answered = client.post("/v1/chat/completions", json={**ASKED, **FROM}).json()
    message = answered["choices"][0]["message"]
    assert message["content"] == TEXT
    (annotation,) = message["annotations"]
    cited = annotation["url_citation"]
    assert TEXT[cited["start_index"] : cited["end_index"]] == "[1]"
    assert cited["title"] == "lease.md"
    assert client.get(cited["url"].partition("#")[0]).json()["name"] == "lease.md"
    receipt = answered["ouvert"]["receipt"]
    assert (receipt["citations"]["given"], receipt["citations"]["invented"]) == (2, 1)
    assert len(receipt["documents"]["passages"]) == 2


def test_a_stream_of_chat_completions_shows_no_unfinished_mark(client):
    with client.stream("POST", "/v1/chat/completions", json={**ASKED, **FROM, "stream": True}) as streamed:
        chunks = [json.loads(line[6:]) for line in streamed.iter_lines() if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    texts = [delta["content"] for delta in deltas if delta.get("content")]
    assert "".join(texts) == TEXT
    assert not any(text.endswith(("[", "[1")) for text in texts)
    assert [delta["annotations"][0]["type"] for delta in deltas if "annotations" in delta] == ["url_citation"]


def test_responses_annotate_with_file_and_place(client):
    asked = {"model": "tiny", "input": "How much is the deposit?", **FROM}
    part = client.post("/v1/responses", json=asked).json()["output"][-1]["content"][0]
    assert part["text"] == TEXT
    file, place = part["annotations"]
    assert (file["type"], file["filename"], place["type"]) == ("file_citation", "lease.md", "url_citation")
    with client.stream("POST", "/v1/responses", json={**asked, "stream": True}) as streamed:
        kinds = [line[7:] for line in streamed.iter_lines() if line.startswith("event: ")]
    assert kinds.count("response.output_text.annotation.added") == 2


def test_messages_cite_as_anthropic_does(client):
    block = client.post("/v1/messages", json={**ASKED, **FROM}).json()["content"][-1]
    (location,) = block["citations"]
    assert block["text"] == TEXT
    assert (location["type"], location["cited_text"]) == ("char_location", "The deposit is 1,250 euro.")
    assert location["document_title"] == "lease.md"


def test_ollama_lists_the_places_under_the_answer(client):
    answered = client.post("/api/chat", json={**ASKED, **FROM, "stream": False}).json()
    assert answered["message"]["content"] == f"{TEXT}\n\n[1] lease.md"


def test_a_collection_that_is_not_ones_own_is_not_there(client, server, tmp_path):
    _, stranger = Keys(tmp_path / "state").create("anna", scopes=("documents",))
    _, without = Keys(tmp_path / "state").create("ben")
    for_anna = {"authorization": f"Bearer {stranger}"}
    with server.client(headers=for_anna) as anna:
        assert anna.get("/ouvert/documents").json()["data"] == []
        refused = anna.post("/v1/chat/completions", json={**ASKED, **FROM})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "collection_not_found")
    with server.client(headers={"authorization": f"Bearer {without}"}) as ben:
        assert ben.get("/ouvert/documents").status_code == 403
        assert ben.post("/v1/chat/completions", json={**ASKED, **FROM}).status_code == 403


def test_where_documents_are_not_read_they_are_refused(client):
    asked = {"model": "tiny", "prompt": "x", **FROM}
    assert client.post("/v1/completions", json=asked).status_code == 400
    assert client.post("/api/generate", json=asked).status_code == 400


def test_prompts_that_held_a_document_go_with_it_from_memory_and_disk(client):
    client.post("/v1/chat/completions", json={**ASKED, **FROM})
    again = client.post("/v1/chat/completions", json={**ASKED, **FROM}).json()
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    client.delete("/ouvert/documents/contracts/lease.md")
    client.put("/ouvert/documents/contracts/lease.md", content=LEASE)
    anew = client.post("/v1/chat/completions", json={**ASKED, **FROM}).json()
    assert anew["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_a_file_that_cannot_be_read_leaves_no_collection(client):
    assert client.put("/ouvert/documents/new/a.pdf", content=b"%PDF-1.4 nothing").status_code == 422
    assert [each["name"] for each in client.get("/ouvert/documents").json()["data"]] == ["contracts"]
