"""A precision behind a model's name, over HTTP: another model to the client, the same one to the owner."""

from ouvert.assistant import PrecisionLimit

QUESTION = [{"role": "user", "content": "Hi"}]


def ask(client, model):
    return client.post("/v1/chat/completions", json={"model": model, "messages": QUESTION})


def precision_of(client, answer):
    return client.get(f"/v1/receipts/{answer.json()['id']}").json()["data"][0]["engine"]["precision"]


def named(speaking_model, folder, name):
    path = folder / name
    path.symlink_to(speaking_model())
    return str(path)


def test_a_client_asks_for_a_precision_by_name(start_server, speaking_model, tmp_path):
    server = start_server(models=(named(speaking_model, tmp_path, "one"),))
    with server.client() as client:
        answers = {name: ask(client, name) for name in ("one", "one@8", "one:latest@4")}
        assert {answer.status_code for answer in answers.values()} == {200}
        assert [precision_of(client, answer) for answer in answers.values()] == ["stored", "8", "4"]
        assert {"one", "one@8", "one@4"} <= server.service.loaded_models.states().keys()
        fingerprints = {answer.json()["system_fingerprint"] for answer in answers.values()}
        assert len(fingerprints) == 3
        assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["one"]
        assert client.get("/v1/models/one@8").json()["ouvert"]["state"] == "loaded"
        refused = ask(client, "one@5")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_the_owner_says_the_precision_of_what_is_served(start_server, speaking_model, tmp_path):
    path = named(speaking_model, tmp_path, "one")
    server = start_server(models=(f"{path}@8",), only_these=True)
    with server.client() as client:
        assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["one@8"]
        assert precision_of(client, ask(client, "one@8")) == "8"
        assert ask(client, "one").status_code == 404


def test_what_is_no_precision_is_answered_with_those_that_are(start_server, speaking_model, tmp_path):
    with start_server(models=(named(speaking_model, tmp_path, "one"),)).client() as client:
        refused = ask(client, "one@3")
    assert refused.status_code == 404
    assert "one has no precision '3'. Behind the @ stands 4, 8, 16 or stored" in refused.json()["error"]["message"]


def test_a_setting_holds_for_names_that_say_nothing(start_server, speaking_model, tmp_path):
    server = start_server(models=(named(speaking_model, tmp_path, "one"),), load_options={"precision": "4"})
    with server.client() as client:
        assert precision_of(client, ask(client, "one")) == "4"
        assert precision_of(client, ask(client, "one@8")) == "8"


def test_a_setting_is_a_limit_and_a_model_of_fewer_bits_answers_as_it_is(start_server, smollm2):
    server = start_server(models=(str(smollm2),), load_options={"precision": PrecisionLimit("16")})
    with server.client() as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        assert precision_of(client, ask(client, name)) == "stored"
        assert ask(client, f"{name}@16").status_code == 400


def test_more_bits_than_a_model_has_are_a_sentence(start_server, smollm2, tmp_path):
    server = start_server(models=(str(smollm2),))
    with server.client() as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        refused = ask(client, f"{name}@16")
        assert refused.status_code == 400
        assert "stored with 8 bits at most" in refused.json()["error"]["message"]
        assert "ask for @stored behind the name" in refused.json()["error"]["message"]
