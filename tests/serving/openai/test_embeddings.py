"""/v1/embeddings and Ollama's two, over a socket and with the clients people use for them."""

import base64

import numpy as np
import ollama
import pytest
from openai import OpenAI

TEXTS = ["Hello", "Hello from a tiny model."]


@pytest.fixture(scope="module")
def embedder(start_server, embedding_model):
    return start_server(models=(str(embedding_model),))


def test_openais_client_gets_vectors_in_its_own_encoding_and_in_numbers(embedder):
    with OpenAI(base_url=embedder.base + "/v1", api_key="x") as sdk:  # strict, it refuses the base64 it asks for
        found = sdk.embeddings.create(model="embedding", input=TEXTS)
    with OpenAI(base_url=embedder.base + "/v1", api_key="x", _strict_response_validation=True) as sdk:
        plain = sdk.embeddings.create(model="embedding", input=TEXTS, encoding_format="float")
        asked = {"model": "embedding", "encoding_format": "float"}
        ids = sdk.embeddings.create(**asked, input=[1, 2, 3])
        short = sdk.embeddings.create(**asked, input=TEXTS[0], dimensions=8)
    vectors = np.array([each.embedding for each in found.data], np.float32)
    np.testing.assert_array_equal(vectors, np.array([each.embedding for each in plain.data], np.float32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert [each.index for each in found.data] == [0, 1]
    assert found.usage.prompt_tokens == found.usage.total_tokens > 4
    assert (len(ids.data), ids.usage.prompt_tokens, len(short.data[0].embedding)) == (1, 3, 8)


def test_base64_is_little_endian_float32(embedder):
    with embedder.client() as client:
        body = {"model": "embedding", "input": TEXTS[0], "encoding_format": "base64"}
        text = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
        numbers = client.post("/v1/embeddings", json={**body, "encoding_format": "float"}).json()
    assert np.frombuffer(base64.b64decode(text), "<f4").tolist() == pytest.approx(numbers["data"][0]["embedding"])


def test_ollamas_client_gets_them_too_and_long_texts_are_cut(embedder):
    client = ollama.Client(host=embedder.base)
    found = client.embed("embedding", TEXTS)
    assert len(found.embeddings) == 2
    assert found.prompt_eval_count > 4
    assert client.embeddings("embedding", TEXTS[0]).embedding == pytest.approx(found.embeddings[0])
    assert client.embed("embedding", "x" * 600).prompt_eval_count == 512
    with pytest.raises(ollama.ResponseError, match="context holds 512"):
        client.embed("embedding", "x" * 600, truncate=False)
    assert client.show("embedding").capabilities == ["embedding"]
    client._client.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": ""}, "a text is empty"),
        ({"input": []}, "input"),
        ({"input": [[999999]]}, "not in the vocabulary"),
        ({"input": "x", "dimensions": 65}, "expected 1 to 64"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_makes_no_sense_is_a_400_that_says_why(embedder, body, said):
    with embedder.client() as client:
        response = client.post("/v1/embeddings", json={"model": "embedding", **body})
    assert response.status_code == 400
    assert said in response.text


def test_it_is_listed_as_what_it_is_and_answers_no_conversation(embedder):
    with embedder.client() as client:
        client.post("/v1/embeddings", json={"model": "embedding", "input": "x"})
        [entry] = client.get("/v1/models").json()["data"]
        assert entry["ouvert"]["embedding_size"] == 64
        body = {"model": "embedding", "messages": [{"role": "user", "content": "Hi"}]}
        response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert "makes embeddings" in response.text
