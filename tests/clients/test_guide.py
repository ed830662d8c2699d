"""docs/guides/clients.md, as it is written: every piece of Python and JavaScript in it is run, those too that
`make test` runs (tests/whole/test_guides.py), here with a real model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "clients.md"
NODE = Path(__file__).parent / "node"
PIECES = re.findall(r"```(python|js)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize(("language", "code"), PIECES, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(PIECES)])
def test_the_guide_works_as_it_is_written(served, language, code):
    assert "http://127.0.0.1:11435" in code
    code = code.replace("http://127.0.0.1:11435", served.base).replace('"smollm2"', f'"{served.speaks}"')
    command = [sys.executable, "-c", code] if language == "python" else ["node", "--input-type=module", "-e", code]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=NODE, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.strip()) > 5
