from __future__ import annotations

import errno
import os

import pytest

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session.storage import read_json, write_bytes, write_json


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_written_is_read_again_and_nothing_lies_about(tmp_path, durable):
    for content in ({"a": 1}, {"a": [1, None, "ü"]}):
        write_json(tmp_path / "x.json", content, durable=durable)
        assert read_json(tmp_path / "x.json") == content
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_failed_write_leaves_the_old_content_and_says_why(tmp_path, monkeypatch, durable, number, sentence):
    write_bytes(tmp_path / "x", b"old", durable=durable)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    # The last step before the new content is visible.
    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(StorageError, match=sentence):
        write_bytes(tmp_path / "x", b"new", durable=durable)
    monkeypatch.undo()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_folder_that_is_gone_is_told(tmp_path, durable):
    with pytest.raises(StorageError, match=r"there is no folder|is not there"):
        write_bytes(tmp_path / "gone" / "x", b"", durable=durable)


def test_durable_writes_wait_for_the_disk_before_they_are_visible(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), sync(handle))[1])
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (order.append("rename"), replace(self, target))[1])
    write_bytes(tmp_path / "x", b"content")
    assert order[0] == "fsync"
    assert order.index("rename") > 0
    assert order[-1] == "fsync" or os.name != "posix"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_names_the_file(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"y\.json is missing"):
        read_json(tmp_path / "y.json")


def test_numbers_that_json_has_not_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not os.listdir(tmp_path)
