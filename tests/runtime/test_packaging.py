"""The wheel holds every module, nothing generic, and works from any folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"lossc": "lossc", "ir": "lossc/ir", "compiler": "lossc/compiler", "runtime": "lossc/runtime"}
DATA = (".py", ".lark", ".cl", ".lir", "py.typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that leftovers of earlier builds in the checkout play no part."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(target),
        ".",
    ]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_below_lossc(wheel: Path) -> None:
    expected = {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.name.endswith(DATA) and "__pycache__" not in path.parts
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected - names == set(), "add the folder to `packages` in pyproject.toml"
    assert {name.split("/")[0] for name in names} == {"lossc", "lossc-0.1.0.dist-info"}


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("ir", "compiler", "runtime"):
        (elsewhere / f"{name}.py").write_text("raise ImportError('a file of the user')")
    zipfile.ZipFile(wheel).extractall(place)
    code = """
import lossc.compiler, lossc.ir, lossc.runtime.build
from lossc.runtime.device import select
device = select()
lossc.runtime.build.build(device, "kernel void k(global float *x) { x[0] = 1; }").new_kernel("k")
print(*(module.__file__ for module in (lossc, lossc.ir, lossc.compiler, lossc.runtime)))
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r})\n{code}"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert all(file.startswith(str(place)) for file in done.stdout.split()[-4:])
