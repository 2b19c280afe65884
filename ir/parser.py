"""LIR text to a verified module, or every mistake in it at once.

In: a text or the path of a file, with the files that it imports. Out: a `Module` that `verify` has nothing
against, or one `LirError` with all diagnostics in the order of the text. The way there: `syntax.py` and
`lines.py` (tokens and lines), `drafts.py` (lines grouped by function, imports), this file (the heads of
functions, so that a call may stand before its callee), `body.py` (statements to operations), `verify.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .body import Interface, read_body
from .diagnostics import Diagnostic, LirError, LosscError, Source
from .drafts import Draft, Problems, TooManyErrors, file_source, read_drafts
from .function import Function, Module, Value
from .literals import read_type
from .syntax import Head, TypeText, span_of
from .types import Type
from .verify import verify_calls, verify_function


def parse(text: str, name: str = "<text>", directory: str | os.PathLike[str] | None = None) -> Module:
    """The module that a text describes. Raises LirError with all of its mistakes.

    `name` is what messages call the text. Imports are relative to `directory`; without one they are refused.
    """
    return _module(Source(name, text.removeprefix("\ufeff")), None if directory is None else Path(directory))


def load(path: str | os.PathLike[str]) -> Module:
    """The module in a file. Raises LirError with all of its mistakes, or because it cannot be read."""
    return _module(file_source(Path(path)), Path(path).parent)


def _module(source: Source, folder: Path | None) -> Module:
    problems = Problems()
    drafts: list[Draft] = []
    module = Module({})
    try:
        drafts += read_drafts(source, folder, problems)
        module = _functions(drafts, problems)
    except TooManyErrors:
        pass
    if problems.found:
        raise LirError(_in_order(problems.found, [source, *(draft.source for draft in drafts)]))
    return _without_unused_imports(module, drafts)


def _functions(drafts: Sequence[Draft], problems: Problems) -> Module:
    interfaces: dict[str, Interface] = {}
    by_draft: list[tuple[Draft, Interface]] = []
    for draft in drafts:
        interface = Interface() if draft.head is None else _interface(draft, draft.head, problems)
        by_draft.append((draft, interface))
        if draft.name is None:
            continue
        if draft.name in interfaces:
            _refuse_second(draft, drafts, problems)
        interfaces.setdefault(draft.name, interface)
    functions: dict[str, Function] = {}
    broken = {name for name, interface in interfaces.items() if interface.signature is None}
    for draft, interface in by_draft:
        if draft.head is not None:
            function = read_body(draft, interface, interfaces, problems)
            if function is None:
                broken.add(draft.name or "")
            elif interfaces[function.name] is interface:
                functions[function.name] = function
    module = Module(functions)
    for function in functions.values():
        # What uses a broken function cannot be judged before that is right.
        if not function.callees() & broken:
            problems.extend(verify_function(function, module))
    problems.extend(verify_calls(module))
    return module


def _interface(draft: Draft, head: Head, problems: Problems) -> Interface:
    """What the head of a function says; a type that is wrong poisons its input or result."""
    source = draft.source
    inputs = [
        Value(str(text.name)[1:], type_, span_of(source, text.name))
        if (type_ := _type(text.type, source, problems)) else None
        for text in head.inputs
    ]  # fmt: skip
    results = [_type(text, source, problems) for _, text in head.results]
    names = tuple(str(name)[1:] if name is not None else "" for name, _ in head.results)
    if any(names) and not all(names):
        problems.add(LirError("either all results have names or none has", span=draft.span, code="LIR0048"))
    signature = None
    if None not in inputs and None not in results:
        params = frozenset(value for value, text in zip(inputs, head.inputs) if value and text.param)
        signature = Function(
            name=str(head.name)[1:],
            kind=str(head.kind),
            inputs=tuple(value for value in inputs if value),
            ops=(),
            outputs=tuple(Value(name, type_) for name, type_ in zip(names, results) if type_),
            params=params,
            output_names=names if all(names) else (),
            gradient=str(head.gradient)[1:] if head.gradient is not None else None,
            span=draft.span,
        )
    return Interface(signature, inputs, results)


def _type(text: TypeText, source: Source, problems: Problems) -> Type | None:
    try:
        return read_type(text, source)
    except LosscError as error:
        problems.add(error)
        return None


def _refuse_second(draft: Draft, drafts: Sequence[Draft], problems: Problems) -> None:
    first = next(other for other in drafts if other.name == draft.name)
    problems.add(LirError(f"the function @{draft.name} is defined twice", span=draft.span, code="LIR0041",
                          labels=[(first.span, "the first one is here")]))  # fmt: skip


def _in_order(found: Sequence[Diagnostic], sources: Sequence[Source]) -> list[Diagnostic]:
    """Diagnostics in the order of the texts, those without a place last."""
    order: dict[int, int] = {}
    for source in sources:
        order.setdefault(id(source), len(order))
    last = (len(order), 0)
    return sorted(found, key=lambda d: (order.get(id(d.span.source), len(order)), d.span.start) if d.span else last)


def _without_unused_imports(module: Module, drafts: Sequence[Draft]) -> Module:
    """Imported functions stay only where the text itself uses them, so that they do not count as entries."""
    own = [draft.name for draft in drafts if not draft.imported and draft.name]
    if not own or len(own) == len(drafts):
        return module
    uses: Mapping[str, list[str]] = {name: sorted(function.callees()) for name, function in module.functions.items()}
    reached: set[str] = set()
    waiting = list(own)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += uses[name]
    return module.with_functions(function for name, function in module.functions.items() if name in reached)
