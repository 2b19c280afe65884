"""What a strategy says of itself is said in words that are read: a misspelt flag would be no flag."""

from __future__ import annotations

import ast
import inspect

import pytest

from lossc.compiler.strategies import strategies

READ = {"applies", "cost", "lower", "candidates", "STORES_ONCE", "MULTIPLIES", "SUMS_ACROSS", "MARGINS"}
"""What `compiler/strategies/__init__.py` describes."""


@pytest.mark.parametrize("name", strategies())
def test_every_public_name_is_read(name: str) -> None:
    tree = ast.parse(inspect.getsource(strategies()[name]))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    defined |= {target.id for node in tree.body if isinstance(node, ast.Assign)
                for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    unread = {own for own in defined - used - READ if not own.startswith("_")}
    assert {"applies", "cost", "lower"} <= defined
    assert not unread, f"nobody reads {unread} of {name}"
