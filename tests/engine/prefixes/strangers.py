"""What may stand in the place of a file and is none."""

import os


def fifo(path, tmp_path):
    os.mkfifo(path)


def link_to_a_device(path, tmp_path):
    path.symlink_to("/dev/zero")


def link_to_a_fifo(path, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    path.symlink_to(tmp_path / "fifo")


def folder(path, tmp_path):
    path.mkdir()


STRANGERS = [fifo, link_to_a_device, link_to_a_fifo, folder]
