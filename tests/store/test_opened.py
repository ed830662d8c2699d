"""What the store hands out can be opened: real, tiny checkpoints through the hub's path and back."""

import json
from pathlib import Path

import numpy as np
import pytest

from ouvert.store import Hub, Store
from ouvert.weights import open_checkpoint

from .hub_server import TinyHub

LLAMA = Path(__file__).parents[1] / "goldens" / "models" / "llama"


@pytest.fixture
def sharded() -> dict[str, bytes]:
    """The golden's weights in three files with an index, as the hub has large models."""
    whole = (LLAMA / "model.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    names = sorted(header.keys() - {"__metadata__"})
    shards = {f"model-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    index = {"metadata": {}, "weight_map": {name: shard for shard, held in shards.items() for name in held}}

    def shard(held: list[str]) -> bytes:
        described, body = {}, b""
        for name in held:
            start, end = header[name]["data_offsets"]
            described[name] = header[name] | {"data_offsets": [len(body), len(body) + end - start]}
            body += data[start:end]
        written = json.dumps(described).encode()
        return len(written).to_bytes(8, "little") + written + body

    return {
        "config.json": (LLAMA / "config.json").read_bytes(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{name: shard(held) for name, held in shards.items()},
    }


def test_shards_from_the_hub_open_as_one_checkpoint(
    store: Store, tiny_hub: TinyHub, hub: Hub, sharded: dict[str, bytes]
) -> None:
    tiny_hub.repositories["maker/model"] = sharded
    installed = store.pull("hf:maker/model", hub=hub)
    with open_checkpoint(installed.path) as checkpoint, open_checkpoint(LLAMA) as expected:
        assert checkpoint.tensors.keys() == expected.tensors.keys()
        for name, tensor in checkpoint.tensors.items():
            np.testing.assert_array_equal(tensor.decode(), expected.tensors[name].decode())


def test_a_gguf_file_opens_under_its_own_name(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.repositories["maker/model"] = {"model.gguf": (LLAMA / "model.gguf").read_bytes()}
    with (
        open_checkpoint(store.pull("hf:maker/model", hub=hub).path) as ours,
        open_checkpoint(LLAMA / "model.gguf") as it,
    ):
        assert ours.metadata == it.metadata
        assert ours.tensors.keys() == it.tensors.keys()


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "."])
@pytest.mark.parametrize("copy", [False, True])
def test_local_files_open_linked_or_copied(store: Store, name: str, copy: bool) -> None:
    installed = store.pull(str(LLAMA / name) if name != "." else str(LLAMA), name="mine", copy=copy)
    with open_checkpoint(installed.path) as checkpoint:
        assert len(checkpoint.tensors) > 10
