"""docs/lir.md: every example is a program, and every form of the language has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lark import Token

from lossc.compiler import compile_module
from lossc.ir.diagnostics import Source
from lossc.ir.format import format_text
from lossc.ir.function import Module
from lossc.ir.lines import lines
from lossc.ir.parser import parse
from lossc.ir.syntax import Close, Head, Import, ListText, Return, Statement, read_line
from lossc.ir.target import CPU_AVX512
from lossc.ir.types import DTYPES

PAGE = (Path(__file__).parents[1] / "docs" / "lir.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```lir\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def module_of(text: str, folder: Path) -> Module:
    for example in EXAMPLES:
        name = re.match(r"// (\w+\.lir)\n", example)
        if name is not None:
            (folder / name[1]).write_text(example)
    return parse(text, "example", folder)


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.partition("func @")[2].partition("(")[0] for text in EXAMPLES])
def test_an_example_is_a_program_as_fmt_has_it(text: str, tmp_path: Path) -> None:
    assert format_text(text) == text
    module = module_of(text, tmp_path)
    if not any(function.kind == "kernel" for function in module.functions.values()):
        names = [name for name, _ in compile_module(module, CPU_AVX512).program.outputs]
        assert names == list(module.entry.names_of_outputs)


def test_every_form_of_the_language_has_an_example() -> None:
    sources = [Source("example", text) for text in EXAMPLES]
    code = [[token for token in line if token.type != "COMMENT"] for source in sources for line in lines(source)]
    records = [read_line(line, sources[0]) for line in code if line]
    assert {type(record) for record in records} == {Import, Head, Statement, Return, Close}
    heads = [record for record in records if isinstance(record, Head)]
    statements = [record for record in records if isinstance(record, Statement)]
    assert {str(head.kind) for head in heads} == {"func", "kernel"}
    assert any(head.gradient for head in heads)
    assert any(text.param for head in heads for text in head.inputs)
    assert any(name for head in heads for name, _ in head.results)
    assert any(len(dim) > 1 for head in heads for text in head.inputs for dim in text.type.dims)
    assert any(statement.types for statement in statements)
    assert any(not statement.targets for statement in statements)
    assert {"call", "launch"} <= {str(s.operation) for s in statements if s.callee}
    assert any(operand.keyword for s in statements for operand in s.operands)
    assert {"VALUE", "INT", "FLOAT"} <= {operand.value.type for s in statements for operand in s.operands}
    values = [attribute.value for s in statements for attribute in s.attributes]
    assert any(isinstance(value, ListText) for value in values)
    assert any(isinstance(value, tuple) for value in values)
    assert {"STRING", "NAME"} <= {value.type for value in values if isinstance(value, Token)}


def test_the_page_names_all_element_types() -> None:
    listed = re.search(r"The element types are (.*?)\. A dimension", PAGE, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`(\w+)`", listed[1])) == set(DTYPES)
