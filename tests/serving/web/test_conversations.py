"""Conversations on disk: private, whole, merged by their owner, never lost in silence."""

import json
import stat
import threading

import pytest

from ouvert.serving.web.conversation_format import ConversationError
from ouvert.serving.web.conversation_search import excerpt, fold
from ouvert.serving.web.conversations import ChangedMeanwhile, Conversations, NoSuchConversation

FIRST = "a" * 16
SECOND = "b" * 16


def message(message_id, parent=None, role="user", text="Bonjour", **more):
    return {"id": message_id, "parent": parent, "role": role, "text": text, "created": "2026-11-25T00:00:00Z", **more}


def conversation(conversation_id=FIRST, revision=0, messages=None, title="A talk", **more):
    messages = [message("m1"), message("m2", "m1", "assistant", "Hello")] if messages is None else messages
    leaf = messages[-1]["id"] if messages else None
    return {
        "ouvert_conversation": 1,
        "id": conversation_id,
        "title": title,
        "revision": revision,
        "messages": messages,
        "leaf": leaf,
        **more,
    }


@pytest.fixture
def kept(tmp_path):
    return Conversations(tmp_path / "data" / "conversations")


def test_what_is_put_comes_back(kept):
    stated = conversation(settings={"model": "smollm2"})
    written = kept.put(FIRST, stated)
    assert written["revision"] == 1
    assert written["created"] == written["updated"]
    assert kept.get(FIRST) == written
    assert {name: written[name] for name in stated} == stated | {"revision": 1}


def test_only_the_owner_can_read_it(kept):
    kept.put(FIRST, conversation())
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in sorted(kept.folder.iterdir())] == [0o600, 0o600]


def test_a_write_that_fails_leaves_the_old_one_and_no_litter(kept, monkeypatch):
    kept.put(FIRST, conversation())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ouvert.serving.web.conversations.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        kept.put(FIRST, conversation(revision=1, title="Changed"))
    assert kept.get(FIRST)["title"] == "A talk"
    assert not list(kept.folder.glob(".writing-*"))


def test_a_stale_write_is_refused_with_both_revisions(kept):
    kept.put(FIRST, conversation())
    with pytest.raises(ChangedMeanwhile, match=r"revision 0, but revision 1 is kept"):
        kept.put(FIRST, conversation())
    kept.put(FIRST, conversation(revision=1))


def test_a_new_conversation_has_revision_0(kept):
    with pytest.raises(ChangedMeanwhile, match=r"revision 3, but revision 0"):
        kept.put(FIRST, conversation(revision=3))


def test_of_many_writers_of_one_revision_one_wins(kept):
    outcomes = []

    def write(number):
        try:
            kept.put(FIRST, conversation(title=str(number)))
            outcomes.append("kept")
        except ChangedMeanwhile:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["kept"] + ["refused"] * 11
    assert kept.get(FIRST)["revision"] == 1


@pytest.mark.parametrize(
    "hostile",
    ["../../etc/passwd", "", "a" * 15, "a" * 33, "A" * 16, "a" * 15 + "/", "a" * 16 + "\n", "a" * 15 + "."],
)
def test_an_id_is_never_a_path(kept, hostile):
    with pytest.raises(ConversationError, match=r"16 to 32 letters"):
        kept.get(hostile)
    with pytest.raises(ConversationError, match=r"16 to 32 letters"):
        kept.put(hostile, conversation(hostile))
    with pytest.raises(ConversationError, match=r"16 to 32 letters"):
        kept.delete(hostile)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ouvert_conversation": 2}, "states 2"),
        ({"colour": "red"}, "no field colour"),
        ({"title": 3}, "title of a conversation is int, expected str"),
        ({"title": "x" * 201}, "at most 200 characters; this one has 201"),
        ({"revision": True}, "revision of a conversation is bool"),
        ({"revision": -1}, "counts from 0"),
        ({"leaf": "m9"}, "none of the messages"),
        ({"messages": [message("m1", "m0")], "leaf": None}, "does not stand before it"),
        ({"messages": [message("m1", "m1")], "leaf": None}, "does not stand before it"),
        ({"messages": [message("m1"), message("m1")]}, "each id once"),
        ({"messages": [message("../x")]}, "1 to 64 letters"),
        ({"messages": [message("m1", role="system")]}, "expected one of"),
        ({"messages": [message("m1", nonsense=1)]}, "no field nonsense"),
        ({"messages": ["m1"]}, "A message is a JSON object, not str"),
    ],
)
def test_what_is_not_a_conversation_is_refused_by_name(kept, change, complaint):
    with pytest.raises(ConversationError, match=complaint):
        kept.put(FIRST, conversation() | change)
    assert not list(kept.folder.glob("*.json"))


def test_a_body_of_another_id_is_refused(kept):
    with pytest.raises(ConversationError, match="Send the same id twice"):
        kept.put(SECOND, conversation(FIRST))


def test_a_conversation_that_is_too_large_is_refused(kept, monkeypatch):
    monkeypatch.setattr("ouvert.serving.web.conversations.MOST_BYTES", 300)
    with pytest.raises(ConversationError, match=r"at most 300 are kept"):
        kept.put(FIRST, conversation(messages=[message("m1", text="é" * 150)]))


@pytest.mark.parametrize("unwritable", ["\ud800", float("nan")])
def test_what_json_cannot_hold_is_refused(kept, unwritable):
    with pytest.raises(ConversationError, match="cannot be written as JSON"):
        kept.put(FIRST, conversation(settings={"system": unwritable}))
    assert not list(kept.folder.glob("*.json"))


def test_deleted_is_gone(kept):
    kept.put(FIRST, conversation())
    kept.delete(FIRST)
    with pytest.raises(NoSuchConversation):
        kept.get(FIRST)
    with pytest.raises(NoSuchConversation):
        kept.delete(FIRST)


def test_the_list_is_newest_first(kept):
    kept.put(FIRST, conversation())
    kept.put(SECOND, conversation(SECOND))
    kept.put(FIRST, conversation(revision=1))
    listing = kept.listing()
    assert [each["id"] for each in listing.conversations] == [FIRST, SECOND]
    assert listing.conversations[0]["messages"] == 2
    assert not listing.damaged


def test_an_empty_folder_lists_nothing_and_is_not_made(kept):
    assert kept.listing().conversations == ()
    assert not kept.folder.exists()


def test_a_search_finds_all_its_words_without_accents_and_capitals(kept):
    kept.put(FIRST, conversation(title="Été", messages=[message("m1", text="Un Événement\nà Genève, STRASSE Straße")]))
    kept.put(SECOND, conversation(SECOND, messages=[message("m1", text="nothing of the kind")]))

    def found(query):
        return [each["id"] for each in kept.listing(query).conversations]

    assert found("evenement") == found("GENEVE ete") == found("strasse") == [FIRST]
    assert found("evenement nothing") == []
    assert found("") == [SECOND, FIRST]
    assert kept.listing("geneve").conversations[0]["excerpt"] == "Un Événement à Genève, STRASSE Straße"
    assert kept.listing("geneve").conversations[0]["message"] == "m1"


def test_attached_documents_are_searched_too(kept):
    kept.put(FIRST, conversation(messages=[message("m1", attachments=[{"name": "a.txt", "text": "hidden gem"}])]))
    assert kept.listing("GEM").conversations[0]["id"] == FIRST


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("needle", "needle", "needle"),
        ("x" * 100 + "Œuvre needle" + "y" * 100, "needle", "…" + "x" * 54 + "Œuvre needle" + "y" * 60 + "…"),
        ("ﬃ ﬃ ça", "ca", "ﬃ ﬃ ça"),
        ("ﬃx", "ix", "ﬃx"),
    ],
)
def test_an_excerpt_is_cut_from_the_text_as_it_was_written(text, word, expected):
    assert word in fold(text)
    assert excerpt(text, word) == expected


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"{}", b"[" * 200_000])
def test_a_damaged_file_is_named_and_kept(kept, content):
    kept.put(FIRST, conversation())
    broken = kept.folder / f"{SECOND}.json"
    broken.write_bytes(content)
    listing = kept.listing()
    assert [each["id"] for each in listing.conversations] == [FIRST]
    assert [each.file for each in listing.damaged] == [broken.name]
    assert broken.exists()
    with pytest.raises(ConversationError):
        kept.export()


def test_an_export_comes_back_into_an_empty_folder(kept, tmp_path):
    kept.put(FIRST, conversation())
    kept.put(SECOND, conversation(SECOND, messages=[]))
    export = json.loads(json.dumps(kept.export()))
    elsewhere = Conversations(tmp_path / "elsewhere")
    outcome = elsewhere.import_all(export, new_id=lambda: "c" * 16)
    assert outcome.added == (FIRST, SECOND)
    assert not outcome.copied
    assert elsewhere.export()["conversations"] == export["conversations"]
    assert elsewhere.import_all(export, new_id=lambda: "c" * 16).unchanged == (FIRST, SECOND)


def test_an_import_overwrites_nothing(kept):
    kept.put(FIRST, conversation(title="Mine"))
    outcome = kept.import_all(conversation(title="Theirs"), new_id=lambda: "c" * 16)
    assert outcome.copied == ("c" * 16,)
    assert (kept.get(FIRST)["title"], kept.get("c" * 16)["title"]) == ("Mine", "Theirs")


def test_an_import_with_one_fault_writes_nothing(kept):
    faulty = {"ouvert_export": 1, "conversations": [conversation(), conversation(SECOND, title=None)]}
    with pytest.raises(ConversationError, match="title"):
        kept.import_all(faulty, new_id=lambda: "c" * 16)
    assert kept.listing().conversations == ()


def test_an_export_of_another_version_is_refused(kept):
    with pytest.raises(ConversationError, match="expected 1"):
        kept.import_all({"ouvert_export": 2, "conversations": []}, new_id=lambda: "c" * 16)


def test_all_can_be_deleted_damaged_ones_too(kept):
    kept.put(FIRST, conversation())
    (kept.folder / f"{SECOND}.json").write_text("{")
    assert kept.delete_all() == 2
    assert not list(kept.folder.glob("*.json"))


def test_a_conversation_that_finds_no_room_is_507_and_the_one_before_it_is_still_there(client, monkeypatch):
    import errno
    import os

    from ouvert.serving.web import conversations

    path = f"/api/ui/conversations/{FIRST}"
    assert client.put(path, json=conversation()).status_code == 200
    before = client.get(path).json()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(conversations.tempfile, "mkstemp", full)
    response = client.put(path, json=conversation(revision=1, title="Another"))
    assert (response.status_code, response.json()["error"]["code"]) == (507, "no_room")
    assert "No space left" in response.json()["error"]["message"]
    assert client.get(path).json() == before
