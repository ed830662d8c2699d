"""Which tensor in a file is which parameter of ours: every one found, shaped as it must be, none left over."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ouvert.models.sources import Fp8Blocks, Plain, Rows, Source, matrices, source_of
from ouvert.weights import Checkpoint, CheckpointError, Tensor

Array = np.ndarray[Any, np.dtype[Any]]
Kind = Literal["embedding", "linear", "norm", "bias", "sinks", "experts", "expert_bias", "convolution", "A", "D"]


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One parameter of a model and where its bytes are. Nothing is decoded or copied until somebody asks.

    `name` is ours ("layers.3.q"). `kind` says what it is for: "embedding" (vocabulary, hidden) is looked up by row,
    "linear" (out, in) is multiplied with, "experts" (experts, out, in) holds a linear per expert, "expert_bias" is
    (experts, out), "convolution" (channels, taps) and "A" (channels, states) or (heads,), the others are vectors.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    source: Source
    same_as: str | None = None  # our name of a parameter with the same bytes: a tied head is the embedding

    @property
    def encoding(self) -> str:
        """How its numbers are written in the file: a key of weights.ENCODINGS. Raises nothing."""
        return self.source.encoding

    @property
    def stored_bytes(self) -> int:
        """Bytes of the file that it is read from. Raises nothing."""
        return self.source.stored_bytes

    @property
    def routed(self) -> bool:
        """Whether a router chooses among its matrices; heads of an attention may have one each as well. Raises
        nothing."""
        return self.kind == "experts" and self.name.rpartition(".")[2] in ("gate", "up", "down")

    def encoded(self) -> Tensor:
        """The encoded bytes, rows in our order. The file's own where they lie there so, else a copy.

        Raises CheckpointError for bytes that do not fit its shape.
        """
        return self.source.whole()

    def rows(self, start: int, stop: int) -> Tensor:
        """Those rows of a matrix, as `encoded` has them; the others are not read where the source allows it.

        Raises CheckpointError for bytes that do not fit its shape.
        """
        if isinstance(self.source, Plain | Fp8Blocks | Rows):
            return self.source.rows(start, stop)
        return self.source.whole().rows(start, stop)

    def decode(self) -> Array:
        """float32 values of `shape`. Raises CheckpointError as `encoded` does."""
        return self.encoded().decode()

    def expert(self, expert: int) -> Tensor:
        """The encoded matrix (out, in) of one expert.

        Raises TypeError or CheckpointError for an expert that it does not have.
        """
        return self.source.expert(expert)

    def decode_expert(self, expert: int) -> Array:
        """float32 (out, in) of one expert. Raises what `expert` raises."""
        return self.expert(expert).decode()


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a family's table of names. `dims` are names of sizes; {n} in file names is the layer."""

    ours: str
    kind: Kind
    dims: str
    hf: str
    gguf: str


# Rotary frequencies that old checkpoints saved. We compute them, and look whether these are the same.
SAVED_FREQUENCIES = (
    "model.rotary_emb.inv_freq",
    "model.layers.{n}.self_attn.rotary_emb.inv_freq",
    "blk.{n}.attn_rot_embd.weight",
)
# What old programs saved besides and no program reads: tables of those frequencies, masks and numbers of positions.
SAVED_TABLES = (".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".self_attn.masked_bias", ".position_ids")
ROWS_COMPARED = 1024  # decoded at once, of two matrices that should hold the same numbers
# Honoured when a GGUF file's configuration is read.
ROPE_FACTORS = "rope_freqs.weight"


class Wanted(NamedTuple):
    """A parameter that a model needs: our name, the name of its tensor in the file, and its row of the table."""

    ours: str
    theirs: str
    row: Row


def match(
    rows_whole: Sequence[Row],
    rows_layer: Sequence[Row] | Callable[[int], Sequence[Row]],
    checkpoint: Checkpoint,
    *,
    layers: int,
    sizes: Mapping[str, int],
    tied: bool,
    frequencies: Callable[[], Array],
    row_orders: Mapping[str, Callable[[], Array]] | None = None,
    unfolded: Mapping[str, Source] | None = None,
) -> list[Parameter]:
    """Pair every parameter with its tensor, in the order a forward pass meets them.

    `rows_layer` is the same for all layers, or says it for each. `sizes` are the lengths of the dimensions that rows
    name; `tied`: the head is the embedding. `frequencies` are the rotary ones, with which saved ones are compared.
    `row_orders` gives, for our names within a layer, the order of a GGUF tensor's rows. `unfolded` stands in for the
    checkpoint's tensors where a family stores several parameters in one tensor or one in several.

    Raises CheckpointError, by name, if a tensor is missing, is left over, has another shape than the configuration
    says, holds a norm of zeros, or contradicts the configuration (saved frequencies, a second head).
    """
    in_file = unfolded or {name: source_of(matrix) for name, matrix in matrices(checkpoint.tensors).items()}
    if checkpoint.format != "gguf":
        in_file = with_the_prefix_of(rows_whole[0].hf, in_file)
    wanted = wanted_tensors(rows_whole, rows_layer, in_file, checkpoint, layers=layers, tied=tied)
    heads = {file_name(row, checkpoint) for row in rows_whole if row.ours == "unembedding"}
    saved = {name.format(n=n) for name in SAVED_FREQUENCIES for n in range(layers)} & in_file.keys()
    second_heads = heads & in_file.keys() if tied and checkpoint.format != "gguf" else set()
    refuse_unpaired(checkpoint, {each.theirs for each in wanted}, in_file.keys(), saved | second_heads, heads)

    orders = (row_orders or {}) if checkpoint.format == "gguf" else {}
    found = [parameter_of(each, in_file[each.theirs], checkpoint, sizes, orders.get(each.row.ours)) for each in wanted]
    refuse_holes(checkpoint, found)
    if saved:
        check_frequencies(checkpoint, {name: in_file[name].whole() for name in saved}, frequencies())
    if tied:
        embedding = found[0]
        check_second_heads(checkpoint, {name: in_file[name].whole() for name in second_heads}, embedding)
        found.append(Parameter("unembedding", "linear", embedding.shape, embedding.source, same_as=embedding.name))
    return found


def file_name(row: Row, checkpoint: Checkpoint) -> str:
    """The row's name in this kind of file, {n} still in it."""
    return row.gguf if checkpoint.format == "gguf" else row.hf


def wanted_tensors(
    rows_whole: Sequence[Row],
    rows_layer: Sequence[Row] | Callable[[int], Sequence[Row]],
    in_file: Mapping[str, Source],
    checkpoint: Checkpoint,
    *,
    layers: int,
    tied: bool,
) -> list[Wanted]:
    """The embedding, the layers, and the rest. Raises CheckpointError for more layers than the file has tensors."""
    if layers > len(in_file):
        raise CheckpointError(
            f"{checkpoint.path}: {layers} layers are announced, but there are only {len(in_file)} tensors. "
            "Is part of the checkpoint missing?"
        )
    embedding, *rest = (
        Wanted(row.ours, file_name(row, checkpoint), row)
        for row in rows_whole
        if not (tied and row.ours == "unembedding")
    )
    of_layers = [
        Wanted(f"layers.{n}.{row.ours}", file_name(row, checkpoint).format(n=n), row)
        for n in range(layers)
        for row in (rows_layer(n) if callable(rows_layer) else rows_layer)
    ]
    return [embedding, *of_layers, *rest]


def refuse_unpaired(
    checkpoint: Checkpoint, wanted: Set[str], in_file: Set[str], honoured: Set[str], heads: Set[str]
) -> None:
    """Raise CheckpointError if a wanted tensor is missing, or one is left over that is not `honoured` otherwise."""
    missing = sorted(wanted - in_file)
    known = wanted | honoured | ({ROPE_FACTORS} if checkpoint.format == "gguf" else set())
    left_over = sorted(name for name in in_file - known if not name.endswith(SAVED_TABLES))
    if missing or left_over:
        hint = "Is the checkpoint whole, and of this architecture?"
        if not left_over and heads >= set(missing):
            hint = (
                "If its head is the embedding, config.json must say so: tie_word_embeddings true. Else fetch the head."
            )
        raise CheckpointError(
            f"{checkpoint.path}: {len(missing)} tensors missing (first: {missing[:3]}), "
            f"{len(left_over)} left over (first: {left_over[:3]}). {hint}"
        )


def parameter_of(
    wanted: Wanted,
    source: Source,
    checkpoint: Checkpoint,
    sizes: Mapping[str, int],
    order: Callable[[], Array] | None,
) -> Parameter:
    """The parameter read from `source`, its rows in `order`. Raises CheckpointError for another shape than `sizes`."""
    dims = wanted.row.dims
    shape = tuple(sizes[dim] for dim in dims.split())
    if source.shape != shape:
        raise CheckpointError(
            f"{checkpoint.path}: {wanted.theirs} is {source.shape}, expected {shape} ({dims.replace(' ', ', ')}) by "
            "the configuration. Do the configuration and the weights belong together?"
        )
    if order is not None:
        source = Plain(checkpoint.tensors[wanted.theirs], order())
    return Parameter(wanted.ours, wanted.row.kind, shape, source)


def check_second_heads(checkpoint: Checkpoint, heads: Mapping[str, Tensor], embedding: Parameter) -> None:
    """Raise CheckpointError for a head beside a tied one, unless it holds the embedding's numbers."""
    for name, head in heads.items():
        if not same_numbers(head, embedding.encoded()):
            raise CheckpointError(
                f"{checkpoint.path}: tie_word_embeddings is true, but {name} differs from the embedding. "
                "Set it to false to use both, or remove the tensor."
            )


def same_numbers(one: Tensor, other: Tensor) -> bool:
    """Whether two matrices hold the same values, in whatever encodings; looked at some rows at a time."""
    if one.encoding == other.encoding:
        return np.array_equal(one.data, other.data)
    return one.shape == other.shape and all(
        np.array_equal(one.rows(start, stop).decode(), other.rows(start, stop).decode())
        for start in range(0, one.shape[0], ROWS_COMPARED)
        for stop in [min(start + ROWS_COMPARED, one.shape[0])]
    )


def refuse_holes(checkpoint: Checkpoint, parameters: Sequence[Parameter]) -> None:
    """Raise CheckpointError if a norm holds nothing but zeros. No model has such a norm: whatever it computed would be
    lost there. A download that was broken off leaves such holes in a file of the right length."""
    for parameter in parameters:
        if parameter.kind == "norm" and not parameter.encoded().data.any():
            raise CheckpointError(
                f"{checkpoint.path}: {parameter.name} holds nothing but zeros, expected a norm's weights: part of the "
                "file never arrived. Fetch it again."
            )


def with_the_prefix_of(embedding: str, in_file: Mapping[str, Source]) -> Mapping[str, Source]:
    """The tensors of an inner model, saved without its head, under the names they have inside the whole.

    `embedding` is the name of the embedding in the whole. transformers reads such files just so.
    """
    prefix = embedding.partition(".")[0] + "."
    if embedding in in_file or embedding.removeprefix(prefix) not in in_file:
        return in_file
    return {name if name.startswith((prefix, "lm_head.")) else prefix + name: each for name, each in in_file.items()}


def check_frequencies(checkpoint: Checkpoint, tensors: Mapping[str, Tensor], computed: Array) -> None:
    """Saved frequencies, in 16 bits at worst, must be the computed ones: another model would turn otherwise.

    Raises CheckpointError by the name of the tensor that differs.
    """
    for name, tensor in sorted(tensors.items()):
        saved = tensor.decode()
        if saved.shape != computed.shape or not np.allclose(saved, computed, rtol=0.01, atol=1e-7):
            raise CheckpointError(
                f"{checkpoint.path}: {name} differs from the frequencies of the configuration. "
                "Compare rope_theta and rope_scaling with the publisher's."
            )


def halves_from_pairs(heads: int, head_dim: int) -> Array:
    """Where llama.cpp put each row of q and k for its llama architecture.

    Its rotation turns neighbours (2j, 2j + 1); ours, like Hugging Face's, turns j with j + head_dim / 2. Row
    (head, half, j) of ours is row (head, j, half) of the file.
    """
    return np.arange(heads * head_dim).reshape(heads, head_dim // 2, 2).swapaxes(1, 2).ravel()
