"""Calls of one function of the table, on arrays of whatever kind.

In: a row, the settings of a call, the types of its arrays. Out: `Specialised`, what they make of the row; a plan for
each combination of these that was met so far. `lossc.functional` and `lossc.torch` read arrays, and make plans of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from lossc.ir.types import Type
from lossc.kept import keep
from lossc.losses.programs import LossProgram, loss_program
from lossc.losses.row import Row
from lossc.losses.shapes import Layout, axis_of_softmax

MOST_PLANS = 1024

Plan = TypeVar("Plan")
Array = TypeVar("Array")


class Specialised(NamedTuple):
    """The program of a row for arrays of certain types under certain settings. `reduced`: it gives one number."""

    program: LossProgram
    layout: Layout
    reduced: bool


class Calls(Generic[Plan]):
    """Calls of one function, with a plan for each combination of settings, shapes and element types met so far."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.plans: dict[Any, Plan] = {}

    def keep(self, key: Any, plan: Plan) -> Plan:
        return keep(self.plans, key, plan, MOST_PLANS)

    def specialised(self, values: Sequence[Any], types: Mapping[str, Type], narrow: bool) -> Specialised:
        """`values` are those of the settings, `types` of the arrays that were given. Raises what the row refuses."""
        row, settings = self.row, dict(zip(self.row.settings, values))
        layout = row.layout(types, settings)
        program = loss_program(row, types, layout, settings, narrow)
        return Specialised(program, layout, settings.get("reduction", "none") != "none")

    def operand_of_softmax(
        self, settings: list[Any], values: Sequence[Any], array: Array, axes: int, cast: Callable[[Any], Array]
    ) -> Array:  # fmt: skip
        """The array in torch's `dtype` of softmax. The axis of `axes` where none is named joins the `settings`."""
        settings[0] = axis_of_softmax(self.row.name, settings[0], axes)
        dtype = self.row.value_of(values, "dtype")
        return array if dtype is None else cast(dtype)
