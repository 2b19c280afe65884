"""The kernel IR: what one work-item does, in scalars and explicit vectors. No optimisation happens on this level.

    kernel  ::= buffers, scalars, local arrays, private arrays, local size, statements
    stmt    ::= let v = e | var v = e | v := e | store b[e] = e | for v in [e, e) step e { stmt* }
              | if e { stmt* } | barrier | atomic_min b[e] e | prefetch b[e]
    expr    ::= constant | v | load b[e] | apply op(e, ...) | splat e | iota | reduce op(e) | work-item query

Rules. Expressions have no effects; statements may. Every expression has a dtype and a width: 1 is a scalar, more
is a vector of so many lanes; both sides of an operation have one width (`splat` widens). A `bool` of any width
is a mask: true or false in each lane, however C spells it. `load` and `store` with a scalar index touch `width`
consecutive elements from there; with a vector index each lane has its own element. f16 and bf16 exist only in
buffers: a load gives f32, a store rounds. A `let` name is bound once in its block; a `var` may be assigned. Every
work-item of a group must reach the same barriers. Indices are i64. Loads and stores reach local arrays (one a
work-group) and private arrays (one a work-item) like buffers. An access that is `aligned` is of a vector whose address
is a multiple of its bytes. A prefetch may name any address.

Beside the pointwise primitives, `apply` knows:

    mod, fma
    max_number               the larger; may drop a NaN on either side
    copysign                 the first f32 with the sign of the second
    power_of_two             the f32 2^n of an f32 that is n + 127 + 1.5 * 2^23 for a whole n in -127..127 (its low bits
                             are the biased exponent); 0 for n = -127
    significand_of           the m in [sqrt(1/2), sqrt(2)) of a positive normal f32 2^n m; 1 of 0
    exponent_of              its n, times 2^23; -127 * 2^23 of 0
    reciprocal_power         its 2^-n; 2^127 of 0
    zip_low, zip_high        the lanes of two vectors in turn, of their low or of their high halves
    round_f16, round_bf16    the nearest value of that type, as f32
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import cached_property
from typing import ClassVar

from .frozen import frozen
from .function import Value
from .integers import Apply, Const, Var

STORAGE_ONLY = {"f16": "f32", "bf16": "f32"}


def register_dtype(dtype: str) -> str:
    """The dtype a value of `dtype` has in registers."""
    return STORAGE_ONLY.get(dtype, dtype)


# --- expressions --------------------------------------------------------------------------------------------


@frozen
class Load:
    buffer: str
    index: Expr
    dtype: str
    width: int = 1
    aligned: bool = False

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.index,)


@frozen
class Splat:
    """A scalar in every lane."""

    operand: Expr
    width: int

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.operand,)

    @property
    def dtype(self) -> str:
        return self.operand.dtype


@frozen
class Iota:
    """0, 1, ..., width - 1."""

    dtype: str
    width: int
    operands: ClassVar[tuple[Expr, ...]] = ()


@frozen
class Reduce:
    """`op` (a row of `kernel_ops.REDUCTIONS`) over the lanes of a vector, in a fixed order."""

    op: str
    operand: Expr

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.operand,)

    @property
    def dtype(self) -> str:
        return self.operand.dtype

    @property
    def width(self) -> int:
        return 1


@frozen
class WorkItem:
    """global_id, local_id, group_id, global_size or group_count, of dimension 0."""

    query: str
    operands: ClassVar[tuple[Expr, ...]] = ()

    @property
    def dtype(self) -> str:
        return "i64"

    @property
    def width(self) -> int:
        return 1


Expr = Const | Var | Load | Apply | Splat | Iota | Reduce | WorkItem

# --- statements ---------------------------------------------------------------------------------------------


@frozen
class Let:
    var: Var
    value: Expr

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.value,)


@frozen
class Declare:
    """A variable that may be assigned."""

    var: Var
    value: Expr

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.value,)


@frozen
class Assign:
    var: Var
    value: Expr

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.value,)


@frozen
class Store:
    """`nontemporal` goes past the cache; the address must be a multiple of the vector's bytes then too."""

    buffer: str
    index: Expr
    value: Expr
    nontemporal: bool = False
    aligned: bool = False

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.index, self.value)


@frozen
class For:
    """`var` (i64) from `start` while it is below `stop`."""

    var: Var
    start: Expr
    stop: Expr
    step: Expr
    body: tuple[Stmt, ...]

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.start, self.stop, self.step)


@frozen
class If:
    condition: Expr
    body: tuple[Stmt, ...]

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.condition,)


@frozen
class Barrier:
    """All work-items of the group meet; what they wrote to local memory is seen by all."""

    expressions: ClassVar[tuple[Expr, ...]] = ()


@frozen
class AtomicMin:
    """buffer[index] = min(buffer[index], value), i32, whatever else happens at the same time."""

    buffer: str
    index: Expr
    value: Expr

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.index, self.value)


@frozen
class Prefetch:
    """Bring buffer[index] towards the core: 3 into the first-level cache, 2 into the second; `for_write` to store
    there. No effect on values."""

    buffer: str
    index: Expr
    level: int = 2
    for_write: bool = False

    @property
    def expressions(self) -> tuple[Expr, ...]:
        return (self.index,)


Stmt = Let | Declare | Assign | Store | For | If | Barrier | AtomicMin | Prefetch

# --- kernels ------------------------------------------------------------------------------------------------


@frozen
class BufferArgument:
    """Global memory. `access` is read, write or readwrite."""

    name: str
    dtype: str
    access: str


@frozen
class LocalArray:
    """Memory shared by a work-group. `holds` are values whose elements the items keep there from one pass to the next;
    printing forgets that."""

    name: str
    dtype: str
    size: int
    holds: tuple[Value, ...] = field(default=(), compare=False, repr=False)


@frozen
class PrivateArray:
    """Memory of one work-item: rows between two passes. `holds` are the values that it keeps, one after the other, from
    the pass that computes one to later passes; printing forgets that."""

    name: str
    dtype: str
    size: int
    holds: tuple[Value, ...] = field(default=(), compare=False, repr=False)


@frozen
class Kernel:
    """One kernel. `scalars` are run-time arguments; `comment` lines say what it computes and how."""

    name: str
    buffers: tuple[BufferArgument, ...]
    scalars: tuple[Var, ...]
    body: tuple[Stmt, ...]
    local_arrays: tuple[LocalArray, ...] = ()
    private_arrays: tuple[PrivateArray, ...] = ()
    local_size: int = 1
    comment: tuple[str, ...] = ()

    @cached_property
    def asked(self) -> frozenset[str]:
        """What the body asks of its work-item."""
        return frozenset(each.query for each in expressions_in(self.body) if isinstance(each, WorkItem))

    @property
    def grouping(self) -> int | None:
        """The work-items of a group. None: they are on their own, and the driver groups them as it likes."""
        # A driver may put the private arrays of a whole group on one thread's stack: groups of one where there are any.
        grouped = self.local_size > 1 or bool(self.private_arrays) or bool(self.asked & _OF_ITS_GROUP)
        return self.local_size if grouped else None


_OF_ITS_GROUP = frozenset({"local_id", "group_id", "group_count"})
"""What is answered otherwise where work-items are grouped otherwise."""


def walk_statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement, outer before inner, in order."""
    pending = [*reversed(body)]
    while pending:
        statement = pending.pop()
        yield statement
        if isinstance(statement, (For, If)):
            pending += reversed(statement.body)


def walk_expressions(*expressions: Expr) -> list[Expr]:
    """Expressions and all inside them, outer before inner; for any depth."""
    found = [*expressions]
    for expression in found:  # which becomes longer meanwhile
        found += expression.operands
    return found


def expressions_in(body: Sequence[Stmt]) -> list[Expr]:
    """Every expression in statements, in their order, with all inside it."""
    return [inner for statement in walk_statements(body) for inner in walk_expressions(*statement.expressions)]
