"""Which part may import which. A part may only list parts above it, so the arrows cannot form a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

MAY_IMPORT = {
    # ground: numbers on paper, bytes on disk, text
    "arithmetic": "",
    "weights": "",
    "tokenization": "",
    # know: fast numbers, what a model is, what a conversation is
    "kernels": "arithmetic",
    "models": "arithmetic weights",
    "chat": "tokenization",
    # run, talk, act
    "store": "weights",
    "engine": "kernels models arithmetic weights",
    "safety": "chat",
    "assistant": "engine store chat tokenization safety",
    "agents": "assistant safety chat",
    # study
    "inspection": "arithmetic models weights kernels chat tokenization store",
    "tuning": "arithmetic models weights kernels chat tokenization store",
    "evaluation": "agents assistant safety chat tokenization store",
    "release": "evaluation safety store",
    # faces
    "serving": "inspection agents assistant safety chat store",
    "cli": "serving release evaluation tuning inspection agents assistant safety engine store models "
    "weights chat tokenization",
}


def imports_of(file: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, part) for every import of one of our parts, wherever in the file it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(level=0, module=module, names=names):
                modules = [f"{module}.{alias.name}" for alias in names]
            case ast.ImportFrom(level=level) if level > 1:
                modules = [f"{package}.<relative import out of its folder>"]
            case _:
                continue
        for module in modules:
            if module.startswith(package + "."):
                yield node.lineno, module.split(".")[1]


def wrong_arrows(root: Path) -> list[str]:
    """Every import that the table forbids, and every part that the table does not know."""
    wrong = []
    for part in sorted(folder.name for folder in root.iterdir() if (folder / "__init__.py").exists()):
        if part not in MAY_IMPORT:
            wrong.append(f"{root / part}: this part is not in the table")
            continue
        for file in sorted((root / part).rglob("*.py")):
            for line, target in sorted(imports_of(file, root.name)):
                if target not in {part, "__version__", *MAY_IMPORT[part].split()}:
                    wrong.append(f"{file}:{line}: {part} may not import {target}")
    return wrong
