"""Makes the stand-ins of this folder importable."""

import importlib.util
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("scripted", Path(__file__).with_name("scripted.py"))
assert spec
assert spec.loader
module = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = module
spec.loader.exec_module(module)
