"""Deleted is deleted: of what was said nothing is left in kept pages, neither on disk nor in memory."""

import asyncio
import threading

import pytest

from ouvert.engine import PageFiles
from ouvert.serving.keys import Keys

KEY = bytes(range(32))
SYSTEM = "You are a careful helper who answers in one sentence, and every sentence of yours begins with a capital. " * 2
SECRET = "My doctor says it is swordfish disease, and that I must not tell anybody at the lighthouse. "
OTHER = "Which bird lays the largest eggs of all, and where on earth does it live nowadays, please? "
ANSWER = "Hello from a tiny model."


@pytest.fixture
def pages(tmp_path):
    return PageFiles(tmp_path / "prefixes", quota=10**9, key=KEY)


@pytest.fixture
def served(start_server, speaking_model, tmp_path, pages):
    """served(**settings) -> a server whose kept pages are in `pages`; every call a new one over the same folders."""
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())
    made = []

    def serve(**settings):
        options = {"threads": 1, "receipts": False, "prefixes": pages}
        made.append(
            start_server(
                models=(str(model),), state=tmp_path / "state", home=tmp_path / "home", load_options=options, **settings
            )
        )
        return made[-1]

    return serve


def on_disk(pages):
    """What all pages hold, decrypted: the tokens they say they are of as text, and their numbers."""
    found = {}
    for path in pages.folder.rglob("*.page"):
        place = pages.place(path)
        page = pages.read(path.stem)
        assert place is not None
        assert page is not None
        found[path.stem] = (place, bytes(page))
    return found


def texts_on_disk(pages):
    """Of every sequence, in the bytes that this model's tokens are."""
    found = on_disk(pages)
    texts = []
    for name in found:
        ids = []
        at = name
        while at in found:
            place, _ = found[at]
            ids = [*place.ids, *ids]
            at = place.parent
        texts.append("".join(chr(each) if each < 256 else "|" for each in ids))
    return texts


def written(server, pages):
    """Wait until all that was to be written is."""
    server.idle()
    for model in server.service.loaded_models.models():
        model.engine.forget(lambda ids: False)
    return texts_on_disk(pages)


def asked(client, question, **headers):
    body = {
        "model": "tiny",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
        "temperature": 0,
    }
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def kept(client, conversation_id, *questions, revision=0, **headers):
    messages, parent = [], None
    for n, question in enumerate(questions):
        for role, text in (("user", question), ("assistant", ANSWER)):
            messages.append(
                {"id": f"{role}{n}", "parent": parent, "role": role, "text": text, "created": "2026-11-30T00:00:00Z"}
            )
            parent = messages[-1]["id"]
    conversation = {
        "ouvert_conversation": 1, "id": conversation_id, "title": "", "revision": revision, "messages": messages,
        "leaf": parent,
    }  # fmt: skip
    answer = client.put(f"/api/ui/conversations/{conversation_id}", json=conversation, headers=headers)
    assert answer.status_code == 200, answer.text


FIRST, SECOND = "a" * 24, "b" * 24


def test_of_a_deleted_conversation_no_page_is_left_and_of_others_they_are(served, pages):
    server = served()
    with server.client() as client:
        assert asked(client, SECRET) == 0
        shared = asked(client, OTHER)
        assert shared > len(SYSTEM)
        kept(client, FIRST, SECRET)
        kept(client, SECOND, OTHER)
        texts = written(server, pages)
        assert any("swordfish" in text for text in texts)
        before = on_disk(pages)
        held = [name for name, (place, _) in before.items() if "swordfish" in "".join(map(chr, place.ids))]
        assert held

        assert client.delete(f"/api/ui/conversations/{FIRST}").status_code == 200

        texts = texts_on_disk(pages)
        assert not any("swordfish" in text or "lighthouse" in text for text in texts)
        left = [page for _, page in on_disk(pages).values()]
        assert not any(before[name][1] in left for name in held)
        for path in pages.folder.rglob("*"):
            assert not path.is_file() or b"swordfish" not in path.read_bytes()
        assert any("largest eggs" in text for text in texts)
        # In memory: the other conversation is still there, this one is read again but for what they share.
        assert asked(client, OTHER) > shared
        assert asked(client, SECRET) <= shared


def test_it_is_gone_after_a_restart_too(served, pages):
    server = served()
    with server.client() as client:
        asked(client, SECRET)
        kept(client, FIRST, SECRET)
        client.delete(f"/api/ui/conversations/{FIRST}")
    server.uvicorn.should_exit = True
    again = served()
    with again.client() as client:
        assert asked(client, SECRET) == 0


def test_an_answer_that_is_being_written_leaves_nothing_once_it_is_deleted(served, pages):
    """Its pages are kept when it ends: after the deletion."""
    server = served()
    with server.client() as client:
        kept(client, FIRST, SECRET)
        body = {
            "model": "tiny", "prompt": SECRET + "\nagain", "stream": True, "temperature": 0, "max_tokens": 1500,
        }  # fmt: skip
        with client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert client.delete(f"/api/ui/conversations/{FIRST}").status_code == 200
            for _ in lines:
                pass
        assert not any("swordfish" in text for text in written(server, pages))


def test_messages_that_a_conversation_no_longer_has_are_forgotten(served, pages):
    server = served()
    with server.client() as client:
        asked(client, SECRET)
        asked(client, OTHER)
        kept(client, FIRST, OTHER, SECRET)
        kept(client, FIRST, OTHER, revision=1)
        texts = written(server, pages)
        assert not any("swordfish" in text for text in texts)
        assert any("largest eggs" in text for text in texts)


@pytest.mark.parametrize("how", ["all", "damaged"])
def test_where_all_goes_or_nobody_knows_what_was_said_all_pages_go(served, pages, tmp_path, how):
    server = served()
    with server.client() as client:
        asked(client, SECRET)
        kept(client, FIRST, SECRET)
        assert written(server, pages)
        if how == "damaged":
            (tmp_path / "state" / "conversations" / f"{FIRST}.json").write_text("{")
            assert client.delete(f"/api/ui/conversations/{FIRST}").status_code == 200
        else:
            assert client.delete("/api/ui/conversations").json() == {"deleted": 1}
        assert on_disk(pages) == {}
        assert asked(client, SECRET) == 0


def test_a_deleted_response_leaves_no_page(served, pages):
    server = served()
    with server.client() as client:
        asked(client, OTHER)
        body = {"model": "tiny", "instructions": SYSTEM, "input": SECRET, "temperature": 0}
        response = client.post("/v1/responses", json=body).json()
        assert any("swordfish" in text for text in written(server, pages))
        assert client.delete(f"/v1/responses/{response['id']}").status_code == 200
        texts = texts_on_disk(pages)
        assert not any("swordfish" in text for text in texts)
        assert any("largest eggs" in text for text in texts)


def test_what_a_model_that_is_not_in_memory_kept_goes_as_a_whole(served, pages):
    """Only a model can read its tokens. Nothing is loaded to delete a conversation."""
    server = served(keep=0.5)
    with server.client() as client:
        asked(client, SECRET)
        kept(client, FIRST, SECRET)
        while server.service.loaded_models.models():
            threading.Event().wait(0.02)
        asyncio.run_coroutine_threadsafe(server.service.loaded_models.settled(), server.loop).result()
        assert any("swordfish" in text for text in texts_on_disk(pages))
        client.delete(f"/api/ui/conversations/{FIRST}")
        assert on_disk(pages) == {}


def test_a_key_deletes_its_own_and_no_other_keys_pages(served, pages, tmp_path):
    keys = Keys(tmp_path / "state")
    mine, theirs = ({"authorization": f"Bearer {keys.create(name)[1]}"} for name in ("mine", "theirs"))
    server = served()
    with server.client() as client:
        for headers in (mine, theirs):
            assert asked(client, SECRET, **headers) == 0
            kept(client, FIRST, SECRET, **headers)
        client.delete(f"/api/ui/conversations/{FIRST}", headers=mine)
        assert asked(client, SECRET, **theirs) > len(SECRET)
        assert asked(client, SECRET, **mine) == 0


def test_what_cannot_be_removed_is_said(served, pages, monkeypatch):
    server = served()
    with server.client() as client:
        asked(client, SECRET)
        kept(client, FIRST, SECRET)
        written(server, pages)

        def refused(path, **_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("ouvert.engine.prefixes.page_files.Path.unlink", refused)
        answer = client.delete("/v1/responses/none")
        assert answer.status_code == 404
        body = {"model": "tiny", "input": SECRET, "temperature": 0}
        response = client.post("/v1/responses", json=body).json()
        answer = client.delete(f"/v1/responses/{response['id']}")
        assert answer.status_code == 500
        assert "ouvert cache clear" in answer.json()["error"]["message"]


def test_cleared_by_another_process_they_go_from_memory_too(served, pages, monkeypatch):
    monkeypatch.setattr("ouvert.serving.kept_prompts.CLEARED_SECONDS", 0.01)
    server = served()
    with server.client() as client:
        asked(client, SECRET)
        assert asked(client, SECRET) > len(SECRET)
        written(server, pages)
        PageFiles(pages.folder, quota=1).clear()
        [model] = server.service.loaded_models.models()
        while model.engine.load.kept_bytes:
            threading.Event().wait(0.01)
        assert on_disk(pages) == {}
        assert asked(client, SECRET) == 0


def test_where_prompts_are_kept_in_memory_only_they_go_from_there(start_server, speaking_model, tmp_path):
    model = tmp_path / "tiny"
    model.symlink_to(speaking_model())
    options = {"threads": 1, "receipts": False, "prefixes": False}
    server = start_server(models=(str(model),), state=tmp_path / "state", load_options=options)
    with server.client() as client:
        asked(client, SECRET)
        assert asked(client, SECRET) > len(SECRET)
        kept(client, FIRST, SECRET)
        client.delete(f"/api/ui/conversations/{FIRST}")
        assert asked(client, SECRET) == 0


def looked_into(client, path, body):
    made = client.post(f"/ouvert/{path}", json={"model": "tiny"} | body)
    assert made.status_code == 202, made.text
    with client.stream("GET", f"/ouvert/{path}/{made.json()['id']}/events") as events:
        assert '"state":"done"' in list(events.iter_lines())[-2]
    return made.json()["id"]


def listed(client, path):
    return [each["id"] for each in client.get(f"/ouvert/{path}").json()["data"]]


def test_of_a_deleted_conversation_nothing_that_was_looked_into_is_left(served):
    """A trace holds the conversation, and a patch its prompts."""
    with served().client() as client:
        kept(client, FIRST, SECRET)
        kept(client, SECOND, OTHER)
        looked_into(client, "traces", {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 2})
        looked_into(client, "traces", {"text": f"He says: {SECRET}"})
        other = looked_into(client, "traces", {"text": OTHER})
        patch = {"metric": {"of": ".", "less": "y"}, "donors": 0, "alignment": [[0, 0]]}
        looked_into(client, "patches", patch | {"clean": SECRET, "corrupted": OTHER})
        looked_into(client, "patches", patch | {"clean": [97, 98], "corrupted": [97, 10]})  # whose texts are not known
        unconcerned = looked_into(client, "patches", patch | {"clean": OTHER, "corrupted": OTHER.upper()})
        assert client.delete(f"/api/ui/conversations/{FIRST}").status_code == 200
        assert listed(client, "traces") == [other]
        assert listed(client, "patches") == [unconcerned]
        assert client.delete("/api/ui/conversations").status_code == 200
        assert listed(client, "traces") == listed(client, "patches") == []
