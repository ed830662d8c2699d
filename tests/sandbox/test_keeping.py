"""How files leave a box: one by one, as plain bytes, when somebody keeps them."""

import os

import pytest

from ouvert.sandbox import BoxError


def test_a_file_is_kept_as_plain_bytes_that_nobody_runs(box, tmp_path):
    box.cell().run("import os\nos.makedirs('a/b')\nos.close(os.open('a/b/run.sh', os.O_CREAT | os.O_WRONLY, 0o777))")
    box.cell().run("open('a/b/run.sh', 'w').write('#!/bin/sh')")
    kept = box.keep("a/b/run.sh", tmp_path / "kept")
    assert kept.read_text() == "#!/bin/sh"
    assert kept.stat().st_mode & 0o7777 == 0o600
    assert kept.stat().st_uid == os.geteuid()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".keeping")] == []


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "a/../../secret"])
def test_a_name_that_leads_out_is_refused(box, tmp_path, name):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(BoxError, match=r"keeping .* no path within the box's folder"):
        box.keep(name, tmp_path / "kept")


def test_links_pipes_folders_and_what_is_missing_are_refused(box, tmp_path):
    (tmp_path / "secret").write_text("x")
    code = f"import os\nos.symlink({str(tmp_path / 'secret')!r}, 'link')\nos.symlink('/', 'root')\nos.mkfifo('pipe')"
    box.cell().run(code + "\nos.mkdir('folder')")
    for name in ("link", "root/etc/passwd", "pipe", "folder", "missing"):
        with pytest.raises(BoxError, match=f"keeping '{name}' from a box"):
            box.keep(name, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_nothing_is_replaced(box, tmp_path):
    box.cell().run("open('new', 'w').write('new')")
    (tmp_path / "kept").write_text("old")
    with pytest.raises(BoxError, match="is there already; nothing is replaced"):
        box.keep("new", tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "old"


def test_a_file_with_a_hole_larger_than_the_folder_may_be_is_refused(opened, tmp_path):
    box = opened(disk=1 << 20)
    box.folder.joinpath("hole").touch()
    os.truncate(box.folder / "hole", 1 << 30)
    with pytest.raises(BoxError, match="more than a box keeps"):
        box.keep("hole", tmp_path / "kept")


def test_a_folder_that_is_a_link_or_ones_home_is_no_folder_of_a_box(opened, tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(BoxError, match="it is a link"):
        opened("link")
    monkeypatch.setenv("HOME", str(tmp_path / "real"))
    with pytest.raises(BoxError, match="give the box its own folder"):
        opened("real")


def test_what_is_shown_can_be_read_and_not_written(opened, tmp_path):
    shown = tmp_path / "shown"
    shown.mkdir(mode=0o755)
    (shown / "text").write_text("words")
    (shown / "text").chmod(0o666)
    tmp_path.chmod(0o755)
    box = opened(read_only=[shown])
    code = f"print(open({str(shown / 'text')!r}).read())\nopen({str(shown / 'text')!r}, 'a')"
    said = box.cell().run(code).text
    if os.geteuid() == 0 and box.data != "/mnt/data" and not said.startswith("words"):
        # nobody cannot follow a path that is closed above: root's box at this level sees what everybody sees
        assert "PermissionError" in said
    else:
        assert said.startswith("words\n")
        assert "Read-only file system" in said or "PermissionError" in said
    assert (shown / "text").read_text() == "words"
    with pytest.raises(BoxError, match="expected a file or folder that is there"):
        opened(read_only=[tmp_path / "missing"])
