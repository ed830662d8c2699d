"""What cannot be tuned."""

import sys

TORCH = "2.13.0"  # as pyproject.toml pins it


class TuningError(Exception):
    """Data, a recipe or a model cannot be used for tuning. The message says what was given, what was expected and what
    to do; of data, with the file and the line."""


def no_torch(what: str) -> TuningError:
    """The sentence where torch is missing. Raises nothing."""
    return TuningError(
        f"{what}: torch is not installed, expected it where adapters are trained. Install it: {sys.executable} -m pip "
        f"install torch=={TORCH} (on Linux with --index-url https://download.pytorch.org/whl/cpu, else gigabytes for "
        "GPUs come with it)."
    )
