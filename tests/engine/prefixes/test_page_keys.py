"""Where the key of pages comes from: a file, a passphrase, a keyring, this user's own."""

import os
import stat
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from ouvert.assistant import kept_prefixes
from ouvert.engine import EngineError
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.prefixes.page_keys import (
    kept,
    key_from_file,
    key_from_keyring,
    key_from_passphrase,
    key_of_this_user,
)
from ouvert.store import Store

from .strangers import STRANGERS

KEY = bytes(range(32))
QUOTA = 10_000_000


def test_a_key_file_must_be_its_owners_and_whole(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(EngineError, match="urandom"):
        key_from_file(path)
    path.write_bytes(KEY)
    os.chmod(path, 0o644)
    with pytest.raises(EngineError, match="chmod 600"):
        key_from_file(path)
    os.chmod(path, 0o600)
    assert key_from_file(path) == KEY
    path.write_text(KEY.hex() + "\n")
    assert key_from_file(path) == KEY
    path.write_text("too short")
    with pytest.raises(EngineError, match="9 bytes, expected 32"):
        key_from_file(path)
    with pytest.raises(EngineError, match="5 bytes, expected 32"):
        PageFiles(tmp_path, quota=1, key=b"short")


def test_a_passphrase_gives_the_same_key_in_the_same_folder(tmp_path):
    one = key_from_passphrase("correct horse", tmp_path / "a")
    assert one == key_from_passphrase("correct horse", tmp_path / "a")
    with pytest.raises(EngineError, match=r"not the passphrase that .* was first used with"):
        key_from_passphrase("correct horses", tmp_path / "a")
    assert one != key_from_passphrase("correct horse", tmp_path / "b")
    with pytest.raises(EngineError, match="empty"):
        key_from_passphrase("", tmp_path)


def test_a_passphrase_is_the_same_however_it_is_composed(tmp_path):
    assert key_from_passphrase("caf\u00e9", tmp_path) == key_from_passphrase("cafe\u0301", tmp_path)


def test_all_who_ask_at_once_get_one_salt(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        salts = list(pool.map(lambda n: kept(tmp_path / "new" / "salt", bytes([n])), range(8)))
    assert len(set(salts)) == 1
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["salt"]


def test_a_damaged_salt_is_named(tmp_path):
    (tmp_path / "salt").write_bytes(b"")
    with pytest.raises(EngineError, match=r"0 bytes, expected 16.*ouvert cache clear"):
        key_from_passphrase("correct horse", tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match=r"Make .* yours"):
        key_from_passphrase("correct horse", tmp_path / "file")


def test_the_keyring_keeps_one_key(monkeypatch):
    keyring = types.ModuleType("keyring")
    errors = types.ModuleType("keyring.errors")
    errors.KeyringError = type("KeyringError", (Exception,), {})
    kept = {}
    keyring.get_password = lambda *place: kept.get(place)
    keyring.set_password = lambda service, account, text: kept.update({(service, account): text})
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    key = key_from_keyring()
    assert len(key) == 32
    assert key_from_keyring() == key
    [place] = kept
    kept[place] = "changed by hand"
    with pytest.raises(EngineError, match="not 32 bytes in hexadecimal"):
        key_from_keyring()

    def locked(*_):
        raise errors.KeyringError("it is locked")

    keyring.get_password = locked
    with pytest.raises(EngineError, match=r"it is locked. Unlock it"):
        key_from_keyring()


@pytest.mark.parametrize("name", ["cryptography.hazmat.primitives.ciphers.aead", "keyring"])
def test_without_the_library_a_key_is_refused_with_the_command_that_installs_it(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"pip install (cryptography|keyring)`"):
        key_from_keyring() if name == "keyring" else PageFiles(tmp_path, quota=QUOTA, key=KEY)


class OpenKeyring(types.ModuleType):
    """A keyring that answers at once; `entries` are what it keeps."""

    def __init__(self, module="keyring.backends.macOS"):
        super().__init__("keyring")
        self.entries, self.module = {}, module

    def get_keyring(self):
        return type("Keyring", (), {"__module__": self.module})()

    def get_password(self, service, account):
        return self.entries.get((service, account))

    def set_password(self, service, account, password):
        self.entries[service, account] = password


@pytest.fixture
def no_keyring(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)


def test_without_a_keyring_the_key_is_a_file_of_its_owners_made_once(tmp_path, no_keyring):
    path = tmp_path / "settings" / "prefixes.key"
    first = key_of_this_user(path)
    assert (len(first), stat.S_IMODE(path.stat().st_mode)) == (32, 0o600)
    assert key_of_this_user(path) == first == path.read_bytes()


def test_two_that_start_at_once_have_one_key(tmp_path, no_keyring):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: key_of_this_user(tmp_path / "prefixes.key"), range(8)))) == 1


def test_an_open_keyring_keeps_the_key_and_no_file_does(tmp_path, monkeypatch):
    keyring = OpenKeyring()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", types.SimpleNamespace(KeyringError=OSError))
    first = key_of_this_user(tmp_path / "prefixes.key")
    assert key_of_this_user(tmp_path / "prefixes.key") == first
    assert list(keyring.entries.values()) == [first.hex()]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "module", ["keyring.backends.fail", "keyring.backends.SecretService", "keyring.backends.kwallet"]
)
def test_a_keyring_that_might_ask_somebody_is_not_asked(tmp_path, monkeypatch, module):
    """A server has nobody in front of it. D-Bus may answer never, or by opening a dialogue."""
    keyring = OpenKeyring(module)
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setattr("ouvert.engine.prefixes.page_keys.asked_whether_open", lambda: False)
    key_of_this_user(tmp_path / "prefixes.key")
    assert keyring.entries == {}
    assert (tmp_path / "prefixes.key").exists()


def test_a_keyring_that_never_says_whether_it_is_open_is_not_waited_for(tmp_path, monkeypatch):
    silent = threading.Event()
    monkeypatch.setitem(sys.modules, "keyring", OpenKeyring("keyring.backends.SecretService"))
    monkeypatch.setattr("ouvert.engine.prefixes.page_keys.asked_whether_open", silent.wait)
    monkeypatch.setattr("ouvert.engine.prefixes.page_keys.PATIENCE", 0.01)
    key_of_this_user(tmp_path / "prefixes.key")
    silent.set()
    assert (tmp_path / "prefixes.key").exists()


def test_once_a_file_has_the_key_it_stays_there(tmp_path, monkeypatch, no_keyring):
    """A keyring that is locked at one start and open at the next would make two keys of one."""
    first = key_of_this_user(tmp_path / "prefixes.key")
    keyring = OpenKeyring()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    assert key_of_this_user(tmp_path / "prefixes.key") == first
    assert keyring.entries == {}


def test_without_a_place_for_a_key_prompts_are_kept_in_memory_only(tmp_path, monkeypatch, no_keyring):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    said = []
    assert kept_prefixes(Store(tmp_path), say=said.append) is None
    assert len(said) == 1
    assert "in memory only" in said[0]
    assert kept_prefixes(Store(tmp_path), encrypted=False, say=said.append) is not None


def test_pages_are_encrypted_unless_their_owner_says_otherwise(tmp_path, monkeypatch, no_keyring):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for encrypted in (True, False):
        files = kept_prefixes(Store(tmp_path / str(encrypted)), quota=QUOTA, encrypted=encrypted)
        files.write("ab" * 32, b"secret" * 100)
        [page] = (tmp_path / str(encrypted)).rglob("*.page")
        assert (b"secret" not in page.read_bytes()) is encrypted
        assert files.usage().encrypted == encrypted


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are POSIX's")
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_key_that_is_no_file_is_not_opened(tmp_path, stranger):
    path = tmp_path / "key"
    stranger(path, tmp_path)
    with pytest.raises(EngineError, match="stands where a file should"):
        key_from_file(path)
    with pytest.raises(EngineError, match="stands where a file should"):
        key_of_this_user(path)


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are POSIX's")
@pytest.mark.parametrize("name", ["salt", "proof"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_a_passphrase_is_tested_with_is_a_file_or_not_opened(tmp_path, stranger, name, monkeypatch):
    monkeypatch.setattr("ouvert.engine.prefixes.page_keys.SCRYPT_N", 2)
    if name == "proof":
        (tmp_path / "salt").write_bytes(bytes(16))
    stranger(tmp_path / name, tmp_path)
    with pytest.raises(EngineError, match="stands where a file should"):
        key_from_passphrase("a passphrase", tmp_path)


def test_a_mounted_secret_is_a_link_and_may_be_a_key(tmp_path):
    (tmp_path / "data").write_bytes(KEY)
    (tmp_path / "data").chmod(0o600)
    (tmp_path / "key").symlink_to("data")
    assert key_from_file(tmp_path / "key") == KEY
