"""A matrix product with a memory budget: what hangs on it is computed for some rows at a time.

Before:  %z = matmul %x, %w {memory_budget = 1000} ; ... ; %dw = matmul %dz, %x {transpose_left = true}
After:   %dw, ... = repeat @f_rows(%x, %w, ...) {rows = [B], carried = 1, budget = 1000}

The equations: a row of a result needs only that row of the operands, and a sum over all rows is the sum over the
pieces of their sums (rounding). So the operations that need the product go into a function of their own as far as they
keep the rows apart, up to and including sums over rows: those are carried from piece to piece. Checks of its rows go
along. What they need beside is cheap and goes along, or is an operand. What waits for such a sum and needs the product
as well is computed by a second turn over the pieces, with the product once more. In: primitives, after
differentiation. A product that fits in its budget whatever happens, or that nobody needs, is left as it is; where the
equations do not hold, `Limitation` says why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ...ir.builder import Builder
from ...ir.diagnostics import Limitation
from ...ir.frozen import frozen
from ...ir.function import Function, Module, Op, Value
from ...ir.names import distinct, fresh
from ...ir.ops import FREE, PRIMITIVES
from ...ir.repeat import is_piece, make_repeat
from ...ir.tensor import Tensor
from ...ir.types import ITEM_SIZE, DimLike, dim_names, named
from ..functions import with_names_of, without_dead
from ..fusion.axes import Axes, join_axes


def split_rows(module: Module) -> Module:
    """Compute matrix products that have a memory budget, and what hangs on them, piece by piece.

    f(rows) = f(piece), f(piece), ...; the sum over rows = the sum of the sums over pieces  rounding
    """
    while (product := next(filter(_has_budget, module.entry.ops), None)) is not None:
        entry = module.entry
        if _always_fits(product) or not _is_needed(product, entry):
            unmarked = replace(product, attributes={**product.attributes, "memory_budget": None})
            module = module.with_function(
                entry.with_(ops=tuple(unmarked if op is product else op for op in entry.ops)))  # fmt: skip
            continue
        piece, repeated = _Splitter(module, product).split()
        module = module.with_function(piece).with_function(with_names_of(repeated, entry))
    return module


def _has_budget(op: Op) -> bool:
    return op.name == "matmul" and op.attributes["memory_budget"] is not None


def _always_fits(product: Op) -> bool:
    """The product and one more value of its size: its gradient."""
    count, size = product.result.type.count, ITEM_SIZE[product.result.type.dtype]
    return isinstance(count, int) and 2 * count * size <= product.attributes["memory_budget"]


def _is_needed(product: Op, function: Function) -> bool:
    return product in without_dead(function).ops


@frozen
class Region:
    """Operations in order; of their results those that are summed over rows and those kept row by row."""

    ops: tuple[Op, ...]
    summed: tuple[Value, ...]
    kept: tuple[Value, ...]


class _Splitter:
    def __init__(self, module: Module, product: Op):
        self.module, self.function, self.product = module, module.entry, product
        self.producers = self.function.producers()
        self.axes = Axes()
        for op in self.function.ops:
            if op.name == "repeat":
                self._join_rows(op)
            else:
                join_axes(op, self.axes)
        self.row = self.axes.find((product.result, 0))
        self.rows: DimLike = product.result.type.shape[0]

    def _join_rows(self, repeat: Op) -> None:
        """The rows of what a repeat cuts and of what it puts together are one axis."""
        piece, step = self.module.functions[repeat.attributes["callee"]], repeat.attributes["step"]
        pairs = [*zip(piece.inputs, repeat.operands), *zip(piece.outputs, repeat.results)]
        cut = [whole for part, whole in pairs if is_piece(part, step)]
        for value in cut[1:]:
            self.axes.join((cut[0], 0), (value, 0))

    def split(self) -> tuple[Function, Function]:
        """The function of one piece, and the entry that repeats it."""
        region = self._region()
        inside = {result for op in region.ops for result in op.results}
        leaves = list(dict.fromkeys(v for op in region.ops for v in op.operands if v not in inside))
        piece = self._piece(region, leaves)
        attributes = {"rows": (self.rows,), "step": self._fresh_dim("rows_of_piece"),
                      "start": self._fresh_dim("first_row"), "carried": len(region.summed),
                      "budget": self.product.attributes["memory_budget"]}  # fmt: skip
        results = (*region.summed, *region.kept)
        made = make_repeat(piece, leaves, attributes, span=self.product.span)
        return piece, self._entry(replace(made, results=results), leaves, {op for op in region.ops if not op.results})

    # --- what belongs to it ---

    def _region(self) -> Region:
        depends: set[Value] = {self.product.result}
        chosen: list[Op] = [self.product]
        by_row: set[Value] = {self.product.result}
        summed: set[Value] = set()
        for op in self.function.ops:
            if op is self.product or not depends.intersection(op.operands):
                continue
            depends.update(op.results)
            if not all(v in by_row for v in op.operands if v in depends):
                continue  # it waits for a sum over all rows
            if any(self._summed_axes(op)):
                chosen.append(op)
                summed.update(op.results)
            elif all(self._in_front(value) for value in op.results or op.operands):
                chosen.append(op)
                by_row.update(op.results)
            else:
                raise self._limitation(f"`{op.name}` does not keep its rows apart", op)
        ops = self._with_cheap_operands(_without_last_views(chosen))
        inside = set(ops)
        outside = {v for op in self.function.ops if op not in inside for v in op.operands} | set(self.function.outputs)
        results = [v for op in ops for v in op.results if v in depends and v in outside]
        # What the caller wants whole is written piece by piece, like everything that is kept.
        given = tuple(v for v in results if v in self.function.outputs or not self._is_as_large(v))
        if not results:
            raise self._limitation("nothing but a `check` needs it", self.product)
        if not given:
            raise self._limitation(f"%{results[0].name}: {results[0].type} is needed whole", self.producers[results[0]])
        return Region(
            without_dead(self.function.with_(ops=tuple(ops), outputs=given)).ops,
            tuple(v for v in given if v in summed),
            tuple(v for v in given if v in by_row),
        )

    def _is_as_large(self, value: Value) -> bool:
        return self._in_front(value) and value.type.rank > 1 and value.type.count == self.product.result.type.count

    def _summed_axes(self, op: Op) -> Iterable[bool]:
        """For each axis that an operation sums over, whether it is the rows."""
        if op.name == "reduce_sum":
            return [self._is_row(op.operands[0], axis) for axis in op.attributes["axes"]]
        if op.name == "matmul":
            left, right = op.operands
            inner = (0 if op.attributes["transpose_left"] else 1, 1 if op.attributes["transpose_right"] else 0)
            return [self._is_row(left, inner[0]) and self._is_row(right, inner[1])]
        return []

    def _is_row(self, value: Value, axis: int) -> bool:
        return self.axes.find((value, axis)) == self.row

    def _in_front(self, value: Value) -> bool:
        """Whether a value has the rows as its first axis and nowhere else."""
        rows = [axis for axis in range(value.type.rank) if self._is_row(value, axis)]
        return rows == [0] and value.type.shape[0] == self.rows

    def _with_cheap_operands(self, chosen: Sequence[Op]) -> list[Op]:
        """Also what is cheaper to compute again than to store whole, in the order of the function."""
        found = dict.fromkeys(chosen)
        pending = [v for op in chosen for v in self._recomputable(op)]
        while pending:
            op = self.producers.get(pending.pop())
            if op is None or op in found or not self._is_cheap(op):
                continue
            found[op] = None
            pending += op.operands
        return [op for op in self.function.ops if op in found]

    def _recomputable(self, op: Op) -> Sequence[Value]:
        # What a product multiplies has to be in memory anyway.
        return () if op.name == "matmul" else op.operands

    def _is_cheap(self, op: Op) -> bool:
        if op.name in FREE:
            return not (op.name == "iota" and self._is_row(op.result, op.attributes["axis"]))
        if op.name not in PRIMITIVES or PRIMITIVES[op.name].kind not in ("pointwise", "shape"):
            return False
        return op.result.type.count == 1 or self._in_front(op.result)

    # --- the two functions ---

    def _piece(self, region: Region, leaves: Sequence[Value]) -> Function:
        step, start = named(self._fresh_dim("rows_of_piece")), named(self._fresh_dim("first_row"))
        build = Builder()
        new: dict[Value, Value] = {}
        for value in leaves:
            if any(self._is_row(value, axis) for axis in range(value.type.rank)) and not self._in_front(value):
                raise self._limitation(f"%{value.name}: {value.type} does not have the rows in front", self.product)
            new[value] = self._cut(value, step)
        names = distinct([*(leaf.name for leaf in leaves), *(f"{value.name}_before" for value in region.summed)])
        new |= {leaf: Value(name, new[leaf].type, leaf.span) for name, leaf in zip(names, leaves)}
        before = [Value(name, value.type) for name, value in zip(names[len(leaves) :], region.summed)]
        for op in region.ops:
            attributes = dict(op.attributes)
            if "shape" in attributes:
                attributes["shape"] = self._cut(op.result, step).type.shape
            if op is self.product:
                attributes["memory_budget"] = None
            results = tuple(self._cut(result, step) for result in op.results)
            new.update(zip(op.results, results))
            build.append(
                replace(op, operands=tuple(new[v] for v in op.operands), attributes=attributes, results=results)
            )
        first = build.emit("size", of=(start,))
        is_first = Tensor(first, build) == 0
        totals = []
        for value, previous in zip(region.summed, before):
            so_far = is_first.broadcast_to(value.type.shape).select(0, Tensor(previous, build))
            totals.append((so_far + Tensor(new[value], build)).value)
        inputs = (*(new[leaf] for leaf in leaves), *before)
        outputs = (*totals, *(new[v] for v in region.kept))
        results = distinct(value.name for value in (*region.summed, *region.kept))
        return Function(self._fresh_function(), inputs, tuple(build.ops), outputs, output_names=results)

    def _cut(self, value: Value, step: DimLike) -> Value:
        """`value` with the rows of one piece."""
        if not self._in_front(value):
            return Value(value.name, value.type, value.span)
        return Value(value.name, value.type.with_shape((step, *value.type.shape[1:])), value.span)

    def _entry(self, repeat: Op, leaves: Sequence[Value], checks: Collection[Op]) -> Function:
        """`repeat` after its last operand is there; what waits for it comes after. `checks` are done in it."""
        replaced = set(repeat.results)
        rest = without_dead(self.function.with_(
            ops=tuple(op for op in self.function.ops if op not in checks and not replaced.intersection(op.results)),
            outputs=(*self.function.outputs, *leaves),
        ))  # fmt: skip
        needed, waiting = set(leaves) - set(self.function.inputs), set(repeat.results)
        early: list[Op] = []
        late: list[Op] = []
        for op in rest.ops:
            if waiting.intersection(op.operands):
                waiting.update(op.results)
                late.append(op)
            else:
                early.append(op)
        if needed.intersection(waiting):
            raise self._limitation("what it needs waits for its own result", self.product)
        return self.function.with_(ops=(*early, repeat, *late))

    def _fresh_dim(self, base: str) -> str:
        values = (*self.function.inputs, *(r for op in self.function.ops for r in op.results))
        taken = {name for v in values for dim in v.type.shape for name in dim_names(dim)}
        earlier = (op.attributes for op in self.function.ops if op.name == "repeat")
        return fresh(base, taken.union(name for names in earlier for name in (names["step"], names["start"])))

    def _fresh_function(self) -> str:
        return fresh(f"{self.function.name}_rows", self.module.functions)

    def _limitation(self, reason: str, op: Op) -> Limitation:
        return Limitation(f"a matrix product cannot be kept within its memory budget: {reason}",
                          "leave memory_budget out where the product is written; memory_budget = none in LIR, None in "
                          "Python, where it has a default",
                          span=op.span or self.product.span)  # fmt: skip


def _without_last_views(ops: Sequence[Op]) -> list[Op]:
    """Without reshapes that nobody in here reads: a view of a result is no piece of memory to keep."""
    kept: list[Op] = []
    read: set[Value] = set()
    for op in reversed(ops):
        if op.name != "reshape" or op.result in read:
            kept.append(op)
            read.update(op.operands)
    return kept[::-1]
