"""What rounding to four bits does to a model's answers: ours and llama.cpp's Q4_K_M, both made from one F16 file.

    .venv-references/bin/python benchmarks/four_bits.py MODEL.gguf

A file that was quantised once lies on its own grid, which the same quantiser finds again: nothing could be compared. So
the dequantised weights are moved off that grid first, by a change that leaves the model the same function: every
residual channel is turned in a plane with another one, by an angle of its own. RMS norms do not see it; their weights
are folded into what reads them. Every matrix is then a mixture of two columns or two rows of what it was.

llama.cpp's quantiser is its own, `llama_model_quantize`, out of a library that npm carries (node-llama-cpp, MIT); it is
fetched once into build/ and compared with its digest. KL(F16 || quantised) of the next token's probabilities, in nats,
over two pages of text written for this (src/ouvert/inspection/texts), by one evaluator for all: Ouvert with float32
activations and caches, so that only the weights differ.
"""

import argparse
import ctypes
import hashlib
import math
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from ouvert import kernels
from ouvert.chat import Language
from ouvert.packed import Placement, Precision, open_model
from ouvert.weights import encoded_bytes

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "src" / "ouvert" / "inspection" / "texts"
BUILD = ROOT / "build" / "four-bits"
PACKAGE, VERSION = "@node-llama-cpp/linux-x64", "3.22.1"  # llama.cpp 0.5.0
DIGEST = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"
Q4_K_M = 15  # llama_ftype
STEP = 64  # tokens at a time: their probabilities are held, vocabulary by vocabulary

# What reads the residual stream -> the norm before it; and what writes to it. Names of GGUF's llama and qwen2.
READS = {
    "attn_q": "attn_norm",
    "attn_k": "attn_norm",
    "attn_v": "attn_norm",
    "ffn_gate": "ffn_norm",
    "ffn_up": "ffn_norm",
}
WRITES = ("attn_output", "ffn_down")

Array = np.ndarray


# --- one F16 file, off the grid ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """An orthogonal change of the residual channels: each is turned with its partner, by an angle of the pair."""

    partner: Array  # int (size,)
    cosine: Array  # float32 (size,)
    sine: Array

    def of(self, values: Array, axis: int) -> Array:
        """The channels of `values` lie along `axis`: rows of x become x @ turn, columns of W turn.T @ W."""
        wide = (slice(None), None) if axis == 0 else slice(None)
        return values * self.cosine[wide] + values.take(self.partner, axis) * self.sine[wide]


def turned_in_pairs(size: int, seed: int) -> Turn:
    """Channels in random pairs (of an odd number one stays), each pair turned by a random angle."""
    random = np.random.default_rng(seed)
    order, turn = random.permutation(size), Turn(np.arange(size), np.ones(size, np.float32), np.zeros(size, np.float32))
    for one, other in order[: size // 2 * 2].reshape(-1, 2):
        angle = random.uniform(0, 2 * math.pi)
        turn.partner[one], turn.partner[other] = other, one
        turn.cosine[[one, other]], turn.sine[one], turn.sine[other] = math.cos(angle), math.sin(angle), -math.sin(angle)
    return turn


def write_off_grid(source: Path, path: Path, seed: int = 1) -> None:
    """The model of a GGUF file (llama or qwen2) as F16, its residual stream turned: the same function. The head is
    written apart, because the last norm is folded into it."""
    reader = gguf.GGUFReader(source)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents(), use_temp_file=True)
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture", "general.file_type", "general.quantization")):
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)

    def values(name: str) -> Array:
        return gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type).astype(np.float32)

    turn = turned_in_pairs(int(tensors["token_embd.weight"].shape[0]), seed)
    for name in dict.fromkeys([*tensors, "output.weight"]):
        found = moved(name, values, turn, name in tensors)
        writer.add_tensor(name, found.astype(np.float32 if found.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def moved(name: str, values: Callable[[str], Array], turn: Turn, has_head: bool) -> Array:
    """A tensor of the turned model."""
    *block, kind, _ = name.split(".")
    if kind.endswith("norm"):
        return np.ones_like(values(name))
    if kind == "token_embd":
        return turn.of(values(name), 1)
    if kind == "output":
        head = values(name if has_head else "token_embd.weight")
        return turn.of(head * values("output_norm.weight"), 1)
    if name.endswith(".bias"):
        return values(name)  # of q, k and v, which are no residual channels
    if kind in READS:
        return turn.of(values(name) * values(".".join([*block, READS[kind], "weight"])), 1)
    return turn.of(values(name), 0) if kind in WRITES else values(name)


# --- llama.cpp's own quantiser ----------------------------------------------------------------------------------------


class Opaque(ctypes.Structure):
    _fields_ = (("words", ctypes.c_int32 * 64),)


def fetched_quantiser() -> Path:
    """The folder with its libraries, fetched into build/ if they are not there."""
    folder = BUILD / "quantiser"
    archive = folder / f"node-llama-cpp-linux-x64-{VERSION}.tgz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest == DIGEST, f"{archive} is not the one that was examined"
    libraries = folder / "package" / "bins" / "linux-x64"
    if not libraries.exists():
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
    return libraries


def quantise_as_llama_cpp(source: Path, path: Path, threads: int = 2) -> None:
    """Write `source` as Q4_K_M."""
    folder = fetched_quantiser()
    _, backends, library = (
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        for name in ("libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so")
    )
    backends.ggml_backend_load_all_from_path(ctypes.c_char_p(str(folder).encode()))
    library.llama_log_set(None, None)
    library.llama_model_quantize_default_params.restype = Opaque
    settings = library.llama_model_quantize_default_params()
    settings.words[0], settings.words[1] = threads, Q4_K_M
    failed = library.llama_model_quantize(str(source).encode(), str(path).encode(), ctypes.byref(settings))
    assert not failed, f"llama.cpp does not quantise {source}: {failed}"


# --- one evaluator ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """A model at a precision, ready to compute with float32 activations and caches. Bits of a weight as packed, of all
    and of the matrices in layers, where head and embedding do not count."""

    program: kernels.Program
    bits: float
    bits_in_layers: float

    def log_probabilities(self, ids: Sequence[int]) -> Iterator[Array]:
        """float64 (STEP tokens, vocabulary), piece after piece."""
        sequence = self.program.new_sequence(capacity=len(ids))
        for start in range(0, len(ids), STEP):
            logits = self.program.step([(sequence, ids[start : start + STEP])], "all").astype(np.float64)
            logits -= logits.max(axis=-1, keepdims=True)
            yield logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def placed(path: Path, precision: Precision, threads: int = 2) -> Placed:
    with open_model(path) as files:
        model = files.place_in_memory(threads, precision).model
        placed = files.placements(precision)
    layers = {name: each for name, each in placed.items() if name.startswith("layers.") and len(each.shape) > 1}
    return Placed(
        kernels.build(kernels.Tracer(exact=True, cache="f32"), model, threads=threads), bits_of(placed), bits_of(layers)
    )


def bits_of(placed: Mapping[str, Placement]) -> float:
    """Of a weight, scales included."""
    stored = sum(encoded_bytes(*each.stored_as) for each in placed.values())
    return 8 * stored / sum(math.prod(each.shape) for each in placed.values())


def texts_as_ids(path: Path, most: int | None) -> dict[str, list[int]]:
    """The pages, as token ids of the model at `path`: `most` of each."""
    with open_model(path) as files:
        language = Language("", files.family.name, files.metadata, files.folder)
        return {
            each.stem: list(language.tokenizer.encode(each.read_text(encoding="utf-8")))[:most]
            for each in sorted(TEXTS.glob("*.md"))
        }


def divergences(
    reference: Placed, others: Sequence[Placed], ids: Mapping[str, Sequence[int]]
) -> list[dict[str, Array]]:
    """Of each of the others, KL(reference || it) after each token of each text."""
    found: list[dict[str, Array]] = [{} for _ in others]
    for name, text in ids.items():
        pieces = zip(*(each.log_probabilities(text) for each in (reference, *others)), strict=True)
        kept = [[(np.exp(wanted) * (wanted - given)).sum(axis=-1) for given in rest] for wanted, *rest in pieces]
        for by_text, of_pieces in zip(found, zip(*kept, strict=True), strict=True):
            by_text[name] = np.concatenate(of_pieces)
    return found


@dataclass(frozen=True)
class Form:
    """One four-bit form: its divergence from the F16 model, token by token over all texts, and its bits a weight."""

    divergence: Array
    bits: float
    bits_in_layers: float


@dataclass(frozen=True)
class Compared:
    """llama.cpp's form of a model, and ours."""

    theirs: Form
    ours: Form

    @property
    def difference(self) -> tuple[float, float]:
        """Ours less theirs, of the same tokens: its mean, and two standard errors of that."""
        apart = self.ours.divergence - self.theirs.divergence
        return float(apart.mean()), float(2 * apart.std() / len(apart) ** 0.5)


def compared(source: Path, folder: Path, most: int | None = None) -> Compared:
    """Both four-bit forms of the model at `source`, made from one F16 file in `folder`. A table is printed."""
    half, theirs = folder / "f16.gguf", folder / "q4_k_m.gguf"
    if not theirs.exists():
        write_off_grid(source, half)
        begun = theirs.with_suffix(".begun")  # what is cut off is not taken for whole
        quantise_as_llama_cpp(half, begun)
        begun.rename(theirs)
    ids = texts_as_ids(half, most)
    reference = placed(half, "stored")
    print(f"{source.name}: " + ", ".join(f"{len(each)} tokens of {name}" for name, each in ids.items()))
    others = {"llama.cpp Q4_K_M": placed(theirs, "stored"), "Ouvert, 4 bits": placed(half, "4")}
    measured = divergences(reference, list(others.values()), ids)
    forms = []
    for (name, other), by_text in zip(others.items(), measured, strict=True):
        rows = {"all": np.concatenate(list(by_text.values())), **by_text}
        means = ", ".join(
            f"{text} {each.mean():.4f} ± {2 * each.std() / len(each) ** 0.5:.4f}" for text, each in rows.items()
        )
        print(f"  {name}: {other.bits:.2f} bits a weight, {other.bits_in_layers:.2f} in layers; KL {means}", flush=True)
        forms.append(Form(rows["all"], other.bits, other.bits_in_layers))
    result = Compared(*forms)
    mean, error = result.difference
    ratio = result.ours.divergence.mean() / result.theirs.divergence.mean()
    print(f"  ours less theirs, token by token: {mean:.4f} ± {error:.4f}; ratio {ratio:.2f}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a GGUF file of the llama or qwen2 architecture")
    parser.add_argument("--tokens", type=int, help="of each text at most (all)")
    parser.add_argument(
        "--folder", type=Path, help="where the F16 file and llama.cpp's are made, or are (build/four-bits)"
    )
    args = parser.parse_args()
    folder = args.folder or BUILD / args.model.stem
    folder.mkdir(parents=True, exist_ok=True)
    compared(args.model, folder, args.tokens)


if __name__ == "__main__":
    main()
