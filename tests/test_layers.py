"""What may know what: the arrows between the packages, and which names may stand where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from lossc.ir.composites import COMPOSITES

ROOT = Path(__file__).parent.parent
PACKAGES = ("ir", "compiler", "runtime", "lossc")

# What a package may import of ours. `lossc` is the front door and imports all three.
ARROWS = {"ir": {"ir"}, "compiler": {"ir", "compiler"}, "runtime": {"ir", "runtime"}, "lossc": set(PACKAGES)}

# Where the names of losses may stand: their definitions, the rewrites of one into another, the examples in the
# command line's help, and the table that pairs them with torch's names, with the functions of those names.
LOSS_NAMES_ALLOWED = (
    "ir/losses/",
    "compiler/passes/stabilize.py",
    "compiler/passes/fuse_nll.py",
    "compiler/lints.py",
    "ir/codes.py",
    "ir/other_words.py",
    "lossc/cli/app.py",
    "lossc/losses/table.py",
    "lossc/losses/bodies.py",
    "lossc/losses/classes.py",
    "lossc/losses/functions.py",
    "lossc/functional.py",
    "lossc/torch/__init__.py",
)

# Spellings of OpenCL C.
OPENCL_C = re.compile(r"__kernel|__global|__local\b|vload|vstore|get_global_id|get_local_id|barrier\(CLK|convert_\w+\(")
KNOWS_OPENCL_C = ("compiler/opencl/printer.py", "compiler/opencl/expressions.py", "compiler/opencl/helpers.py")


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def everything() -> list[Path]:
    return [path for package in PACKAGES for path in files(package)]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@lru_cache(maxsize=1024)
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    """`compiler.passes.expand`; a package's `__init__` has the name of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=1)
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in everything()}


def imported(path: Path) -> set[str]:
    """Every module of ours that a file imports, wherever in the file: also in functions and under TYPE_CHECKING."""
    return {name for node in ast.walk(tree(path)) for name in _targets(node, path)}


def _targets(node: ast.AST, path: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _ours(alias.name)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module_name(path).split(".")
            package = package if path.name == "__init__.py" else package[:-1]
            # `from ..ir` in compiler/lower.py leaves the folder: the folders are installed side by side in lossc.
            package = ["lossc", *package] if package[0] != "lossc" else package
            stem = package[: len(package) - node.level + 1]
            base = ".".join([*stem, *([base] if base else [])])
        for alias in node.names:
            inner = list(_ours(f"{base}.{alias.name}"))
            yield from inner or _ours(base)


def _ours(name: str) -> Iterator[str]:
    """The name of a module as its file's path has it: `lossc.ir.types` is `ir.types`."""
    parts = name.split(".")
    if parts[0] == "lossc" and len(parts) > 1 and parts[1] in ("ir", "compiler", "runtime"):
        parts = parts[1:]
    if parts[0] in PACKAGES and ".".join(parts) in modules():
        yield ".".join(parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    wrong = [
        f"{relative(path)} imports {name}"
        for path in files(package)
        for name in sorted(imported(path))
        if name.split(".")[0] not in ARROWS[package]
    ]
    assert not wrong


def test_imports_are_found() -> None:
    """The walk above sees what is known to be there: else it could not fail."""
    names = imported(ROOT / "compiler" / "lower.py")
    assert {"ir.program", "ir.arithmetic", "compiler.fused", "compiler.strategies"} <= names
    assert {name.split(".")[0] for name in imported(ROOT / "lossc" / "compiled.py")} >= {"ir", "compiler", "runtime"}


def test_no_circle_of_imports() -> None:
    """Following imports one never comes back."""
    graph = {name: sorted(imported(path) - {name}) for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for following in graph[name]:
                visit(following, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("package", ["ir", "compiler"])
def test_the_map_of_a_package_names_all_of_it(package: str) -> None:
    """Modules, and folders of them, in the docstring of the package."""
    folder = ROOT / package
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    told = set(re.findall(r"\w+", ast.get_docstring(tree(folder / "__init__.py")) or ""))
    assert not there - told - {"__init__"}


def _words(path: Path) -> Iterator[tuple[int, str]]:
    """Identifiers and strings of the code, without comments and docstrings, each with its line."""
    docstrings = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.alias)):
            yield node.lineno, node.name


def _found(pattern: re.Pattern[str], allowed: tuple[str, ...]) -> list[str]:
    return [
        f"{relative(path)}:{line}: {match[0]}"
        for path in everything()
        if not relative(path).startswith(allowed)
        for line, word in _words(path)
        if (match := pattern.search(word))
    ]


def test_names_of_losses_stand_with_the_losses() -> None:
    """Whatever treats one loss apart is a rewrite; everything else treats all losses alike."""
    losses = [name for name, composite in COMPOSITES.items() if composite.kind == "loss"]
    assert len(losses) > 3
    assert not _found(re.compile(rf"\b({'|'.join(map(re.escape, losses))})\b"), LOSS_NAMES_ALLOWED)


def test_one_file_knows_opencl_c() -> None:
    assert not _found(OPENCL_C, KNOWS_OPENCL_C)
    known = [word for name in KNOWS_OPENCL_C for _, word in _words(ROOT / name)]
    assert any(OPENCL_C.search(word) for word in known)


def test_only_the_runtime_imports_a_driver() -> None:
    """Compiling needs no driver."""
    wrong = [
        relative(path)
        for path in everything()
        if relative(path).split("/")[0] != "runtime"
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Import) and any(alias.name.startswith("pyopencl") for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyopencl"))
    ]
    assert not wrong
