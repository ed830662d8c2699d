"""The official JSON Schema Test Suite, as jsonschema's source archive carries it."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
VERSION = "4.26.0"
DIGEST = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"


@dataclass(frozen=True)
class Case:
    """A schema with instances: (description, value, whether it is valid)."""

    file: str
    description: str
    schema: Any
    instances: tuple[tuple[str, Any, bool], ...]


@pytest.fixture(scope="session")
def oracle():
    """tests/engine/constraints/schema_oracle.py."""
    path = ROOT / "tests" / "engine" / "constraints" / "schema_oracle.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def suite(oracle) -> dict[str, list[Case]]:
    """Cases by draft, the optional ones among them. Schemas without $schema are given that of their draft.

    Fetched once into build/, never committed (MIT, Julian Berman and contributors); the digest is checked.
    """
    folder = ROOT / "build" / "json-schema-test-suite"
    archive = folder / f"jsonschema-{VERSION}.tar.gz"
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "-d", str(folder), f"jsonschema=={VERSION}"], check=True)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == DIGEST, f"{archive} is not the one that was examined"

    cases: dict[str, list[Case]] = {draft: [] for draft in oracle.DRAFTS}
    with tarfile.open(archive) as files:
        for member in files:
            _, *place = Path(member.name).parts
            if place[:2] != ["json", "tests"] or place[2] not in cases or not member.name.endswith(".json"):
                continue
            for group in json.load(files.extractfile(member)):
                schema = group["schema"]
                if isinstance(schema, dict) and "$schema" not in schema:
                    schema = {"$schema": oracle.DRAFTS[place[2]], **schema}
                instances = tuple((test["description"], test["data"], test["valid"]) for test in group["tests"])
                cases[place[2]].append(Case("/".join(place[3:]), group["description"], schema, instances))
    return cases
