"""Which part may import which, and how. A part may only list parts above it, so the arrows cannot form a circle.

Three rules, each a function that returns what breaks it: `wrong_arrows` (the table below), `imports_around` (a part is
imported through what its `__init__` lists, never through its files) and `circles` (the files of one part import each
other in one direction only).
"""

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
    # bytes: weights in the layouts that compute
    "packed": "kernels models arithmetic weights",
    # run
    "store": "weights",
    "sandbox": "",
    "engine": "packed models kernels arithmetic weights",
    "safety": "chat",
    # talk, act
    "assistant": "engine store chat tokenization safety",
    "documents": "store tokenization safety sandbox",
    "agents": "assistant documents sandbox chat safety",
    # study
    "inspection": "packed kernels models arithmetic weights chat tokenization store",
    "tuning": "packed kernels models arithmetic weights chat tokenization store",
    "evaluation": "assistant agents sandbox safety chat tokenization store",
    "release": "evaluation safety store",
    # faces
    "serving": "assistant agents documents safety inspection chat store",
    "cli": "serving release evaluation tuning inspection agents documents assistant safety sandbox engine store packed "
    "chat models weights tokenization",
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


def imports_around(root: Path) -> list[str]:
    """Every import of another part that does not go through that part's `__init__` and what its `__all__` lists."""
    listed = {folder.name: names_listed_by(folder / "__init__.py") for folder in root.iterdir() if folder.is_dir()}
    around = set()
    for file in sorted(root.rglob("*.py")):
        part = file.relative_to(root).parts[0]
        for module, name in imported_names(file, root):
            target, _, inside = module.removeprefix(f"{root.name}.").partition(".")
            if target in listed and target != part and (inside or (name and name not in listed[target])):
                around.add(f"{file.relative_to(root)}: {module}{name and f' -> {name}'}")
    return sorted(around)


def circles(root: Path) -> list[tuple[str, ...]]:
    """The groups of files that import each other, each as sorted paths; only imports within one part count.

    An import inside a function counts, and so does one under `if TYPE_CHECKING`: Python can load such files, but nobody
    can read, test or move one of them without the other.
    """
    imported = {str(file.relative_to(root)): files_imported_by(file, root) for file in sorted(root.rglob("*.py"))}
    reached = {file: reachable(file, imported) for file in imported}
    groups = {tuple(sorted(other for other in reached[file] if file in reached[other])) for file in imported}
    return sorted(group for group in groups if group)


def names_listed_by(init: Path) -> set[str]:
    """What `__all__` lists in a part's `__init__`."""
    for node in ast.parse(init.read_text(encoding="utf-8")).body if init.exists() else []:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return set(ast.literal_eval(value))
    return set()


def imported_names(file: Path, root: Path) -> Iterator[tuple[str, str]]:
    """(module, name imported from it, "" for the module itself) of every import of ours, with full module names."""
    folder = (root.name, *file.relative_to(root).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        match node:
            case ast.Import(names=names):
                found = [(alias.name, "") for alias in names]
            case ast.ImportFrom(level=0, module=module, names=names):
                found = [(module, alias.name) for alias in names]
            case ast.ImportFrom(level=level, module=module, names=names):
                base = ".".join([*folder[: len(folder) + 1 - level], *([module] if module else [])])
                found = [(base, alias.name) for alias in names]
            case _:
                continue
        for module, name in found:
            if module == root.name and name:  # `from ouvert import engine` is `import ouvert.engine`
                yield f"{module}.{name}", ""
            elif module.startswith(f"{root.name}."):
                yield module, name


def files_imported_by(file: Path, root: Path) -> set[str]:
    """The files of the same part that `file` imports, as paths from `root`."""
    part = file.relative_to(root).parts[0]
    files = set()
    for module, name in imported_names(file, root):
        for dotted in (f"{module}.{name}" if name else module, module):
            path = root.joinpath(*dotted.split(".")[1:])
            target = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if target.exists():
                files.add(str(target.relative_to(root)))
                break
    return {target for target in files if Path(target).parts[0] == part and target != str(file.relative_to(root))}


def reachable(start: str, imported: dict[str, set[str]]) -> set[str]:
    """Every file that `start` comes to by following imports; itself only if they lead back to it."""
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for target in imported[ahead.pop()] - reached:
            reached.add(target)
            ahead.append(target)
    return reached
