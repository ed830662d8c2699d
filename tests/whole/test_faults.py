"""What goes wrong in the middle: one answer is lost, or one receipt; the others go on, and the next start is clean."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from safetensors.numpy import load_file, save_file

import ouvert
from ouvert import kernels
from ouvert.store import Store

ANSWER = "Hello from a tiny model."


@pytest.fixture
def numpy_only(monkeypatch):
    monkeypatch.setattr(kernels, "available", lambda: False)


@pytest.fixture
def native():
    assert kernels.available()


@pytest.fixture
def overflowing(speaking_model, tmp_path):
    """A model whose layer computes an infinity once it reads a z; nothing else touches that direction."""
    folder = tmp_path / "overflowing"
    shutil.copytree(speaking_model(), folder)
    weights = load_file(folder / "model.safetensors")
    layer = "model.layers.0"
    z = ord("z")
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"{layer}.{name}.weight"][z] = 0
    for name in ("mlp.gate_proj", "mlp.up_proj"):
        weights[f"{layer}.{name}.weight"][:, z] = 1e30
    save_file(weights, folder / "model.safetensors")
    return folder


def text_of(answer):
    return "".join(event.text for event in answer if isinstance(event, ouvert.TextDelta))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")  # NumPy's word for it
@pytest.mark.parametrize("runner", ["native", "numpy_only"])
def test_numbers_that_break_end_one_answer_naming_the_layer_and_no_other(overflowing, tmp_path, runner, request):
    request.getfixturevalue(runner)
    with ouvert.load(overflowing, store=Store(tmp_path / "store")) as model:
        first, broken, last = model.chat("Hi"), model.continue_text("from a to z"), model.chat("Ho")
        with pytest.raises(ouvert.EngineError, match=r"The first value that is not a finite number is layers\.0\.out"):
            list(broken)
        assert [text_of(first), text_of(last)] == [ANSWER, ANSWER]
        assert text_of(model.chat("Hi")) == ANSWER  # nothing broken was kept for those that begin alike
        assert model.engine.load.running == 0


# Answers in turn, for ever, with receipts and pages on disk: long prompts, so that there is something to write.
BUSY = """
from pathlib import Path
import ouvert
from ouvert.store import Store
store = Store(Path({home!r}))
with ouvert.load({model!r}, store=store, context=2000) as model:
    n = 0
    while True:
        for _ in model.chat(f"{{n % 7}}. " + "Say it again. " * 60):
            pass
        n += 1
        print(n, flush=True)
"""


def test_killed_anywhere_the_next_start_is_clean_and_the_answer_the_same(speaking_model, tmp_path):
    home = tmp_path / "store"
    script = BUSY.format(home=str(home), model=str(speaking_model()))
    delays = random.Random(4)
    answered = 0
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(delays.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            answered += 1 + process.stdout.read().count(b"\n")
    ledger = ouvert.Ledger(home / "receipts")
    with ouvert.load(speaking_model(), store=Store(home), context=2000) as model:
        for n in range(7):
            assert text_of(model.chat(f"{n}. " + "Say it again. " * 60)) == ANSWER
        assert model.engine.load.reused_tokens > 0  # of what those that were killed left
    checked = ledger.check()
    assert (checked.whole, checked.torn_bytes) == (True, 0)
    # Every answer that was told of, and perhaps one more of each process, which died before it could tell.
    assert answered + 7 <= checked.receipts <= answered + 7 + 6
    assert not list(home.rglob("*.part"))


def test_on_a_full_disk_the_answer_stands_and_says_what_was_not_kept(speaking_model, tmp_path):
    """A limit on the size of files stands for the disk."""
    words = ["run", str(speaking_model()), "Say it again. " * 60]
    run = "from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5)); "
    environment = {**os.environ, "OUVERT_HOME": str(tmp_path / "store")}

    def ran(code):
        command = [sys.executable, "-c", f"import sys; {code}{run}", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)

    assert ran("").returncode == 0  # packed, one receipt, some pages
    kept = ouvert.Ledger(tmp_path / "store" / "receipts")
    before = kept.path.read_bytes()
    words[2] = "Another. " * 90
    short = ran(full)
    assert (short.returncode, short.stdout) == (0, ANSWER + "\n")
    assert "this answer's receipt is not kept" in short.stderr
    assert kept.path.read_bytes() == before
    again = ran("")
    assert (again.returncode, again.stdout) == (0, ANSWER + "\n")
    assert "not kept" not in again.stderr
    assert (kept.check().receipts, kept.check().whole) == (2, True)


def test_a_template_that_raises_or_never_ends_refuses_its_own_conversation(speaking_model, tmp_path):
    template = (
        "{% for m in messages %}{% if m.content == 'boom' %}{{ raise_exception('not like this') }}{% endif %}"
        "{% if m.content == 'forever' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\\n' }}"
    )
    endless = {"\n": "again", "again": "again"}
    with ouvert.load(speaking_model(endless, template=template), store=Store(tmp_path / "store")) as model:
        going = model.chat("Hi", max_tokens=400)
        texts = []
        reader = threading.Thread(target=lambda: texts.append(text_of(going)))
        reader.start()
        for said, complaint in (
            ("boom", "not like this"),
            ("forever", "takes more steps than any chat template needs"),
        ):
            with pytest.raises(ouvert.ChatError, match=complaint):
                model.chat(said)
        reader.join(30)
        assert texts == ["again" * 400]
        assert text_of(model.chat("Hi", max_tokens=2)) == "againagain"
    receipts = [entry.receipt for entry in ouvert.Ledger(tmp_path / "store" / "receipts").entries()]
    assert [each["tokens"]["output"] for each in receipts] == [400, 2]  # none of what was refused
