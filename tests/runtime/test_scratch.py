"""Folders of processes: private while they live, removed by the next one to start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lossc.runtime import scratch
from lossc.runtime.scratch import LOCK, process_folder

HOLD = """
import sys
from pathlib import Path
from lossc.runtime.scratch import process_folder
print(process_folder(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def start(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", HOLD, str(parent)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_folders_of_living_processes_stay_and_those_of_killed_ones_go(tmp_path: Path) -> None:
    living, of_living = start(tmp_path)
    killed, of_killed = start(tmp_path)
    try:
        (of_living / "kernel.so").write_text("in use")
        (of_killed / "kernel.so").write_text("left")
        assert of_living.exists()
        assert of_killed.exists()
        killed.kill()
        killed.wait()
        mine = process_folder(tmp_path)
        assert (of_living / "kernel.so").exists()
        assert not of_killed.exists()
    finally:
        living.kill()
        living.communicate()
        killed.communicate()
    other = process_folder(tmp_path)
    assert not of_living.exists()
    assert len({mine, other, of_living, of_killed}) == 4
    assert mine.exists(), "a process does not remove its own"


def test_a_folder_without_a_lock_is_left_to_a_starting_process_for_a_while(tmp_path: Path) -> None:
    fresh, old = tmp_path / "process-fresh", tmp_path / "process-old"
    for folder in (fresh, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    process_folder(tmp_path)
    assert fresh.exists()
    assert not old.exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / LOCK).write_text("")
    process_folder(tmp_path)
    assert (tmp_path / "mine").exists()


def test_a_parent_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = process_folder(tmp_path / "file")
    try:
        assert folder.is_dir()
        assert tmp_path not in folder.parents
    finally:
        shutil.rmtree(folder)


def test_nothing_is_removed_while_it_is_locked_in_this_process_too(tmp_path: Path) -> None:
    first = process_folder(tmp_path)
    held = len(scratch._held)
    second = process_folder(tmp_path)
    assert first.exists()
    assert second.exists()
    assert len(scratch._held) == held + 1
