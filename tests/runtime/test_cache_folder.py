"""Whatever is wrong with the folder of all caches, a program runs and finds the same: what cannot be read is made
again, what cannot be written is not kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, numpy as np, lossc
from lossc import nn, optim

TEXT = '''
func @f(%x: f32[N, 3], %t: i32[N]) -> f32[1] {
  %loss = cross_entropy_loss %x, %t
  return %loss
}
'''
x, t = np.eye(4, 3, dtype="f4"), np.array([0, 1, 2, 0], "i4")
(loss,), gradients = lossc.parse(TEXT).compile(grad=["x"])(x=x, t=t)
tuned = lossc.parse(TEXT).compile(tune=True)(x=x, t=t)[0]
g = lossc.Graph()
rows, labels = g.input("x", (None, 3)), g.input("t", (None,), dtype="i32")
g.set_outputs([g.cross_entropy_loss(nn.Linear(g, "fc", 3, 3)(rows), labels)])
step = g.compile_step(optim.Adam())
losses = [float(step(x=x, t=t)[0]) for _ in range(3)]
print(json.dumps([loss.tolist(), gradients["x"].tolist(), tuned.tolist(), losses]))
"""

READ_ONLY = """
import builtins, errno, io, os

FOLDER = os.environ["LOSSC_CACHE_DIR"]

def refusing(function, writes):
    def refused(path, *arguments, **keywords):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(FOLDER) and writes(arguments, keywords):
            raise OSError(errno.EROFS, "Read-only file system", os.fspath(path))
        return function(path, *arguments, **keywords)
    return refused

def always(arguments, keywords):
    return True

def to_write(arguments, keywords):
    return arguments[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)

def mode_to_write(arguments, keywords):
    return set(str((*arguments, keywords.get("mode", "r"))[0])) & set("wax+")

for name in ("mkdir", "replace", "rename", "unlink", "remove", "rmdir", "utime", "symlink", "link"):
    setattr(os, name, refusing(getattr(os, name), always))
os.open = refusing(os.open, to_write)
io.open = builtins.open = refusing(io.open, mode_to_write)
"""
"""What a read-only file system does, for an administrator, too, who may write in any folder."""


def run(folder: Path, program: str = PROGRAM) -> Any:
    environment = {**os.environ, "LOSSC_CACHE_DIR": str(folder)}
    environment.pop("LOSSC_CACHE", None)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def files(folder: Path) -> dict[Path, bytes]:
    """The entries of every cache; what drivers are given is made for each process."""
    return {path: path.read_bytes() for path in folder.glob("*/??/*") if path.is_file()}


def whole_entries(folder: Path) -> dict[Path, bytes]:
    """Those that are more than the head of one."""
    return {path: entry for path, entry in files(folder).items() if len(entry) > 20}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with entries of every kind, and what the program has found."""
    folder = tmp_path_factory.mktemp("cache")
    found = run(folder)
    assert {path.parent.parent.name for path in files(folder)} >= {"compiled", "modules", "programs"}
    return folder, found


def test_a_folder_that_can_only_be_read(filled: tuple[Path, Any]) -> None:
    folder, found = filled
    before = files(folder)
    assert run(folder, READ_ONLY + PROGRAM) == found
    assert files(folder) == before


def test_an_empty_folder_that_can_only_be_read(filled: tuple[Path, Any], tmp_path: Path) -> None:
    assert run(tmp_path, READ_ONLY + PROGRAM) == filled[1]
    assert not files(tmp_path)


@pytest.mark.parametrize("kept", [0, 20, 0.5, -1], ids=["nothing", "the head", "a half", "all but a byte"])
def test_entries_that_were_cut_off_are_made_again(filled: tuple[Path, Any], kept: float) -> None:
    folder, found = filled
    whole = files(folder)
    for path, entry in whole.items():
        path.write_bytes(entry[: int(len(entry) * kept) if isinstance(kept, float) else kept])
    assert run(folder) == found
    # Not each of them: a search that is made again may end with other programs.
    made = whole_entries(folder)
    assert {path.parent.parent.name for path in made} == {path.parent.parent.name for path in whole}
    assert run(folder) == found
    assert whole_entries(folder) == made
