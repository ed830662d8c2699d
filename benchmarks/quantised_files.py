"""One model as F16 and in llama.cpp's formats, for tables of what fewer bits cost.

    .venv-references/bin/python benchmarks/quantised_files.py MODEL.gguf FOLDER
    ouvert compare FOLDER/F16.gguf@16 FOLDER/Q8_0.gguf FOLDER/Q6_K.gguf … --damage --lang en,fr

The F16 file has the weights of MODEL.gguf, turned into numbers and nothing else; the others are made of it by
llama.cpp's own quantiser (`llama_model_quantize`, from the native build that `make peers` leaves). A model that was
shipped in few bits lies on its own grid: what is measured then is the damage of rounding it once more.
"""

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

NATIVE = Path(__file__).parents[1] / "build" / "peers" / "native" / "bin" / "python"
# llama.cpp's numbers of whole-file formats (include/llama.h, llama_ftype).
FORMATS = {"Q8_0": 7, "Q6_K": 18, "Q4_K_M": 15, "Q3_K_M": 12, "Q4_0": 2, "Q2_K": 10}
QUANTISE = """
import sys, llama_cpp
source, path, number = sys.argv[1:]
settings = llama_cpp.llama_model_quantize_default_params()
settings.nthread, settings.ftype = 2, int(number)
sys.exit(llama_cpp.llama_model_quantize(source.encode(), path.encode(), settings))
"""


def write_f16(source: Path, path: Path) -> None:
    """The same model with matrices in F16; vectors stay F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents(), use_temp_file=True)
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture", "general.file_type", "general.quantization")):
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values.astype(np.float32 if values.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    source, folder, *wanted = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "F16.gguf"
    write_f16(source, whole)
    for name in map(str, wanted) if wanted else FORMATS:
        path = folder / f"{name}.gguf"
        subprocess.run([NATIVE, "-c", QUANTISE, whole, path, str(FORMATS[name])], check=True, stderr=subprocess.DEVNULL)
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
