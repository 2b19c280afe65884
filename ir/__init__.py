"""What programs are: the data of every level, their text, and what they mean. Imports nothing else of lossc.

A module of functions (`.lir`), from text or from Python, to what the compiler starts with:

    frozen        classes of data that nothing changes: what most of the others are
    types         element types, dimensions with names, tensor types
    function      Value, Op, Function, Module: immutable SSA
    ops           the primitive operations, one row each; op_types, op_meanings, windows, random_bits: what they are
    composites    the operations that are functions over primitives: layers.py, _softmax.py and the files of losses/
    sample_weight the same loss with a weight for each sample
    attributes    checking and writing what stands in the braces of an operation
    builder       building functions: Builder emits checked operations
    tensor        a value with operators; arguments, indexing, other_words, other_functions: as NumPy and torch write
    signature     calls: dimensions of the callee from the operands; call_graph: callees first, no recursion
    repeat        a function run on one piece of the rows after the other
    verify        the rules that no single operation can check
    interp        the meaning of a function in NumPy, float64; shapes: sizes of dimension names from arrays

The text of modules, in the order in which it is read:

    lir.lark      the grammar of one line
    syntax        tokens, and a line of them to a record; advice: what to write for a line that is none
    lines         where a line ends
    drafts        files and imports; the lines of each function
    literals      numbers, strings, dimensions, types; operands: keywords and attributes
    body          statements to operations
    parser        parse, load: a verified module, or every mistake at once
    printer       the exact inverse; format: the same layout with the author's names and comments
    names         names that are not yet taken
    diagnostics   errors as data, with their places; codes: what each code means

What the compiler makes of it:

    schedule      how one fused kernel runs over its rows
    kernel        loops, scalars and vectors of one work-item; kernel_ops: its operations
    arithmetic    integer expressions put together: indices, sizes, guards; integers: what they come to
    program       buffers and launches; failed_checks: what the checks of one say
    kernel_text   kernels and programs as text and back: kernel.lark, kernel_parser, kernel_printer, program_text
    target        what a compiler must know of a device
"""

from .diagnostics import CompilerBug, DeviceError, Diagnostic, Limitation, LirError, LosscError, Source, Span
from .function import Function, Module, Op, Value
from .types import Dim, DimLike, Shape, Type

__all__ = [
    "CompilerBug", "DeviceError", "Diagnostic", "Dim", "DimLike", "Function", "Limitation", "LirError", "LosscError",
    "Module", "Op", "Shape", "Source", "Span", "Type", "Value",
]  # fmt: skip
