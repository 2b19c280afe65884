"""Writing files: all of them or none, in one step each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lossc.cli.files import check_target, write_file, write_files
from lossc.ir.diagnostics import LirError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_folders_are_made(tmp_path: Path) -> None:
    write_files(tmp_path / "a" / "b", {"one.txt": "1", "deep/two.bin": b"\xff"})
    assert contents(tmp_path) == {"a/b/one.txt": b"1", "a/b/deep/two.bin": b"\xff"}


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_file(tmp_path / "new", "text")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("failing", ["os.replace", "os.fdopen"])
def test_nothing_changes_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    (tmp_path / "a").write_text("before")
    (tmp_path / "b").write_text("before")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, full)
    with pytest.raises(LirError, match=r"cannot write .*No space left"):
        write_files(tmp_path, {"a": "after", "b": "after"})
    monkeypatch.undo()
    assert contents(tmp_path) == {"a": b"before", "b": b"before"}


def test_nothing_changes_where_one_of_several_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    (tmp_path / "b").mkdir()
    with pytest.raises(LirError, match="cannot write"):
        write_files(tmp_path, {"a": "after", "b": "after"})
    assert contents(tmp_path) == {"a": b"before"}


def test_what_is_no_ordinary_file_is_written_to(tmp_path: Path) -> None:
    write_file(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()


def test_a_read_only_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(LirError, match=r"cannot write .*it is read-only"):
        write_files(tmp_path, {"b": "after", "a": "after"})
    with pytest.raises(LirError, match=r"cannot write .*it is read-only"):
        check_target(tmp_path / "a")
    assert contents(tmp_path) == {"a": b"before"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(LirError, match=r"cannot write to .*it is a file") as error:
        write_files(tmp_path / "a", {"b": "after"})
    assert "name a folder" in str(error.value)
    assert contents(tmp_path) == {"a": b"before"}
