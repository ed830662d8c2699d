"""Builds the component of level `wasm` and translates it for this machine: `python -s -P wasm_build.py FOLDER`.

Opens no connection: CPython for WebAssembly is in the package componentize-py. Leaves `cell.cwasm` in FOLDER.
"""

import os
import shutil
import sys
from pathlib import Path

WORLD = "package ouvert:box;\nworld cell {\n  export run: func(request: string) -> string;\n}\n"


def main(folder: Path) -> None:
    """Raises what the two packages raise."""
    empty = folder / "empty"  # componentize-py takes in the packages of whatever Python it finds; here it finds none
    for each in ("lib/python3/site-packages", "Lib/site-packages"):
        (empty / each).mkdir(parents=True)
    source = folder / "source"
    source.mkdir()
    shutil.copyfile(Path(__file__).with_name("wasm_cell.py"), source / "wasm_cell.py")
    (source / "cell.wit").write_text(WORLD, encoding="utf-8")
    os.environ["VIRTUAL_ENV"] = str(empty)
    os.environ["PATH"] = ""
    component = folder / "cell.wasm"
    words = ["-q", "-d", str(source / "cell.wit"), "-w", "cell", "componentize", "wasm_cell", "-p", str(source)]
    sys.argv = ["componentize-py", *words, "-o", str(component)]
    from componentize_py import script

    if status := script():
        raise SystemExit(status)
    from wasmtime.component import Component

    sys.path.insert(0, str(Path(__file__).parent))
    from wasm_host import engine

    (folder / "cell.cwasm").write_bytes(Component.from_file(engine(), str(component)).serialize())
    component.unlink()
    shutil.rmtree(source)
    shutil.rmtree(empty)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
