"""What is packed into the sdist and the wheel."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_packages_leave_out_is_named_from_the_root():
    """A pattern without a slash at its beginning fits a folder of that name anywhere, below src/ouvert too."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["scikit-build"]
    left_out = settings["sdist"]["exclude"]
    assert left_out
    assert all(pattern.startswith("/") and (ROOT / pattern[1:]).exists() for pattern in left_out)
