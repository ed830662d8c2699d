"""What a killed writer left is swept when nobody can be at it any more, and nothing else is."""

import os
import time

from ouvert.store import strays, sweep_strays


def test_old_strays_go_and_what_is_being_written_stays(tmp_path):
    old, new = [], []
    for name, age in (
        ("incoming-abc/wheel.whl", 2 * 86400),
        (".digests-x1", 7200),
        ("server/.keys-y2", 7200),
        ("server/conversations/.writing-z3", 7200),
        ("incoming-now/wheel.whl", 7200),
        ("server/.keys-now", 10),
        ("server/keys.json", 10**7),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        for each in (path, path.parent) if "incoming" in name else (path,):
            os.utime(each, (time.time() - age,) * 2)
        stray = path.parent if "incoming" in name else path
        (old if age >= 7200 and "now" not in name and name != "server/keys.json" else new).append(stray)
    assert strays(tmp_path) == sorted(old)
    assert sweep_strays(tmp_path) == sorted(old)
    assert strays(tmp_path) == []
    assert all(path.exists() for path in new)
