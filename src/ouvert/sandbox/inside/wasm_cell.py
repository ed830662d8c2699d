"""The stateful Python cell of level `wasm`: what becomes a component, with CPython and its standard library.

Executed twice. When the component is built: the library is read into memory, since no file of it is there later, and
what code mostly imports is imported. In the box: `run` takes one request and gives one reply, as often as it is asked;
what code prints goes to the component's own output. The other end believes none of it.
"""

import ast
import base64
import bisect
import calendar
import collections
import contextlib
import copy
import csv
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import heapq
import importlib.abc
import importlib.machinery
import inspect
import io
import itertools
import json
import linecache
import marshal
import math
import operator
import os
import pathlib
import random
import re
import statistics
import string
import sys
import tempfile
import textwrap
import time
import traceback
import types
import typing
import warnings
import zlib

import wit_world

READY = (
    base64, bisect, calendar, collections, contextlib, copy, csv, dataclasses, datetime, decimal, enum,
    fractions, functools, hashlib, heapq, inspect, itertools, math, operator, pathlib, re, statistics, string,
    textwrap, time, typing,
)  # fmt: skip  # imported for whoever runs code, so that it takes no time then
DATA = "/mnt/data"
LIBRARY = "/python"  # where the standard library is while the component is built
LEFT_OUT = (
    "__phello__", "__pycache__", "config-", "ctypes", "curses", "dbm", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "tkinter", "turtledemo", "venv",
)  # fmt: skip
# Known by name to models, and not in this box.
ABSENT = frozenset(
    ("numpy", "pandas", "matplotlib", "scipy", "sympy", "sklearn", "PIL", "requests", "seaborn", "torch", "ctypes")
)


class Library(importlib.abc.Loader):
    """The standard library's own modules, each as compressed code. A finder and a loader of `sys.meta_path`."""

    def __init__(self) -> None:
        self.modules: dict[str, tuple[bytes, bool]] = {}  # name -> (its code, whether it is a package)

    def read(self, folder: str, package: str = "") -> None:
        """Everything below a folder; what does not compile is left out."""
        for name in sorted(os.listdir(folder)):
            path, stem = f"{folder}/{name}", name.removesuffix(".py")
            if name.startswith(LEFT_OUT):
                continue
            if os.path.isdir(path) and os.path.exists(f"{path}/__init__.py"):
                self.read(path, f"{package}{name}.")
            elif name.endswith(".py"):
                full = package.removesuffix(".") if stem == "__init__" else package + stem
                with open(path, encoding="utf-8") as file, contextlib.suppress(SyntaxError, ValueError):
                    code = compile(file.read(), f"<library>/{full}", "exec", dont_inherit=True)
                    self.modules[full] = (zlib.compress(marshal.dumps(code)), stem == "__init__")

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name in self.modules:
            return importlib.machinery.ModuleSpec(name, self, is_package=self.modules[name][1])
        if name in ABSENT:
            raise ModuleNotFoundError(
                f"No module named {name!r}: this Python runs in WebAssembly and has its standard library alone",
                name=name,
            )
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        exec(marshal.loads(zlib.decompress(self.modules[module.__name__][0])), module.__dict__)  # noqa: S102, S302


module = types.ModuleType("__main__")
library = Library()
library.read(LIBRARY)
number = 0


def begin() -> None:
    """What cannot be kept in the component: chance, variables of the build, and output."""
    random.seed()
    os.environ.clear()
    os.environ.update({"HOME": DATA, "TMPDIR": DATA, "LANG": "C.UTF-8"})
    os.chdir(DATA)
    tempfile.tempdir = DATA
    sys.path[:] = [DATA]
    sys.path_importer_cache.clear()
    sys.meta_path.append(library)
    sys.modules["__main__"] = module
    sys.argv = [""]
    sys.stdin = io.StringIO()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True))
    warnings.filterwarnings("ignore", message=".*is non-interactive.*")


def execute(code: str, name: str) -> str:
    """Run the code; its last expression is shown, as in a notebook. What it raises is printed."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), module.__dict__)  # noqa: S102 - what the box is for
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), module.__dict__)  # noqa: S307
            if value is not None:
                module.__dict__["_"] = value
                print(repr(value))
        return "done"
    except BaseException:  # code may raise anything; it is shown, and the cell goes on
        print_exception()
        return "failed"


def print_exception() -> None:
    """The exception with the frames of the code, without ours."""
    kind, value, trace = sys.exc_info()
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
        trace = trace.tb_next
    sys.stdout.flush()
    if kind is not None and value is not None:
        shown = traceback.TracebackException(kind, value, trace)
        shown.stack[:] = [each for each in shown.stack if each.filename != __file__]
        sys.stderr.write("".join(shown.format()))


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]
    """What the component exports."""

    def run(self, request: str) -> str:
        global number
        if not number:
            begin()
        asked = json.loads(request)
        number += 1
        status = execute(asked["code"], f"<cell {number}>")
        with contextlib.suppress(Exception):  # code may have closed or replaced them
            sys.stdout.flush()
            sys.stderr.flush()
        return json.dumps({"status": status, "number": asked["number"]})
