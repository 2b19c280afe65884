"""The losses of `lossc.functional` and `lossc.torch` as a table: torch's signature beside lossc's operation.

In: nothing. Out: `LOSSES`, one row a function. A row says which operation of the IR the function is, which of its
parameters are tensors (in the order of the operation's operands), how their shapes are read, and which exception a
failed check becomes. What is neither a tensor nor one of torch's two retired arguments is an attribute of that name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lossc.ir.attributes import complete_attributes
from lossc.ir.composites import definition_of
from lossc.ir.diagnostics import CheckFailed, LirError
from lossc.ir.losses._reduction import REDUCTIONS
from lossc.ir.ops import Attribute
from lossc.losses import bodies, shapes
from lossc.losses import class_shapes as of_classes
from lossc.losses.errors import OutOfRange, RefusedKind, RefusedValue
from lossc.losses.warnings import warn

RETIRED = ("size_average", "reduce")
"""Arguments that torch has replaced by `reduction`."""
WITHOUT_MEANING = ("options", "_stacklevel", "dtype")
"""Arguments that are no attributes: of torch's ways of working, or taken care of before."""

_KINDS: Mapping[str, frozenset[type]] = {
    "int": frozenset({int}), "float": frozenset({float, int}), "bool": frozenset({bool}), "str": frozenset({str}),
}  # fmt: skip
"""The classes of Python that an attribute takes as they are, by its kind. Equal values of these mean the same."""
_AXIS = Attribute("int", None)

_OLD = "size_average=None, reduce=None, reduction='mean'"


@dataclass(frozen=True, eq=False)
class Row:
    """One function. `parameters` is its signature as text, `operands` the names of its tensors in the order of the
    operation's operands. The element types of `deciding` operands (default: the required ones) decide the result's.
    """

    name: str
    operation: str
    parameters: str
    operands: str
    layout: shapes.Layouter
    body: bodies.Body = bodies.one_operation
    deciding: str = ""
    failures: Mapping[str, type[CheckFailed]] = field(default_factory=dict)
    whole: bool = False
    """Whether the first operand may be integers where another is a float."""

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(eval(f"lambda {self.parameters}: None"))

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        return tuple(self.operands.split())

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The tensors that have no default."""
        return tuple(n for n in self.tensors if self.signature.parameters[n].default is inspect.Parameter.empty)

    @cached_property
    def decided_by(self) -> tuple[str, ...]:
        """The operands whose element types decide the result's."""
        return tuple(self.deciding.split()) or self.required

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """The attributes."""
        others = (*self.tensors, *RETIRED, *WITHOUT_MEANING)
        return tuple(name for name in self.signature.parameters if name not in others)

    @cached_property
    def help(self) -> str:
        """The docstring of the function."""
        function = getattr(definition_of(self.operation), "function", None)
        text = inspect.getdoc(function) or ""
        names = [operand.rstrip("?") for operand in definition_of(self.operation).operands]
        renamed = [f"`{name}` {theirs}" for name, theirs in zip(names, self.tensors) if name != theirs]
        head = "" if self.name == self.operation else f"This is lossc's `{self.operation}`. "
        tail = f"Above {', '.join(renamed)} here." if renamed else ""
        return f"{text}\n\n{head}{tail}".rstrip() + "\n"

    @cached_property
    def _binding(self) -> tuple[dict[str, int], tuple[Any, ...], int, int]:
        """The places of the names, the defaults, how many stand by position at most, how many at least."""
        parameters = self.signature.parameters.values()
        by_position = sum(p.kind is not inspect.Parameter.KEYWORD_ONLY for p in parameters)
        least = sum(p.default is inspect.Parameter.empty for p in parameters)
        places = {name: place for place, name in enumerate(self.signature.parameters)}
        return places, tuple(p.default for p in parameters), by_position, least

    def bind(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The value of every parameter, in order. Raises TypeError as a function of that signature does.

        `signature.bind` and its defaults take twenty times as long, tens of microseconds in every call: here it only
        words the refusals.
        """
        places, defaults, by_position, least = self._binding
        given = len(arguments)
        if given > by_position or given < least:
            bound = self.signature.bind(*arguments, **keywords)
            bound.apply_defaults()
            return list(bound.arguments.values())
        values = [*arguments, *defaults[given:]]
        for name, value in keywords.items():
            place = places.get(name, -1)
            if place < given:
                self.signature.bind(*arguments, **keywords)
            values[place] = value
        return values

    @cached_property
    def tensors_at(self) -> tuple[int, ...]:
        """The places of the tensors among the parameters."""
        return tuple(self._binding[0][name] for name in self.tensors)

    @cached_property
    def _settings_at(self) -> tuple[int, ...]:
        return tuple(self._binding[0][name] for name in self.settings)

    @cached_property
    def _reduction_at(self) -> int | None:
        return self.settings.index("reduction") if "reduction" in self.settings else None

    @cached_property
    def _retired_at(self) -> tuple[int, ...]:
        return tuple(self._binding[0][name] for name in RETIRED if name in self._binding[0])

    @cached_property
    def _reductions(self) -> tuple[str, ...]:
        return (*REDUCTIONS, *MORE_REDUCTIONS.get(self.operation, ()))

    @cached_property
    def attributes(self) -> Mapping[str, Attribute]:
        """What the operation says of each setting but the reduction."""
        known = definition_of(self.operation).attributes
        return {name: known.get(name, _AXIS) for name in self.settings if name != "reduction"}

    @cached_property
    def _accepted(self) -> tuple[tuple[int, frozenset[type]], ...]:
        """The place of each setting but the reduction, and the classes of values that need no second look."""
        accepted = {
            name: _KINDS[attribute.kind] | ({type(None)} if attribute.optional or attribute.default is None else set())
            for name, attribute in self.attributes.items()
        }
        return tuple((place, accepted[name]) for place, name in enumerate(self.settings) if name in accepted)

    def _setting(self, name: str, value: Any) -> Any:
        """What the attribute takes, Python's number for one of NumPy or torch. Raises RefusedKind."""
        if hasattr(value, "item"):
            with suppress(ValueError, RuntimeError):
                # Of several numbers there is none, and the attribute takes no list.
                value = value.item()
        try:
            return complete_attributes(self.name, {name: self.attributes[name]}, {name: value})[name]
        except LirError as error:
            raise RefusedKind(error.diagnostics) from None

    def settings_of(self, values: Sequence[Any]) -> list[Any]:
        """The attributes in the order of `settings`, with the reduction that is meant."""
        settings = [values[place] for place in self._settings_at]
        for place, accepted in self._accepted:
            if type(settings[place]) not in accepted:
                settings[place] = self._setting(self.settings[place], settings[place])
        if self._reduction_at is not None:
            retired = [values[place] for place in self._retired_at]
            settings[self._reduction_at] = _reduction(settings[self._reduction_at], retired, self._reductions)
        return settings

    @cached_property
    def _leading_tensors(self) -> int:
        """How many parameters stand before the first that is no tensor."""
        names = list(self.signature.parameters)
        return next((place for place, name in enumerate(names) if name not in self.tensors), len(names))

    @cached_property
    def _usual_settings(self) -> tuple[Any, ...]:
        return tuple(self.settings_of(self._binding[1]))

    def read(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """The value of every parameter, and of every attribute. Raises TypeError, LirError."""
        values = self.bind(arguments, keywords)
        if not keywords and len(arguments) <= self._leading_tensors:
            return values, [*self._usual_settings]
        return values, self.settings_of(values)

    def value_of(self, values: Sequence[Any], name: str) -> Any:
        """The value of one parameter."""
        return values[self._binding[0][name]]

    def failed(self, error: CheckFailed) -> CheckFailed:
        """The exception for a check that failed."""
        kind = self.failures.get(error.code) or _FAILURES.get(error.code, CheckFailed)
        return kind(error.failures)


_FAILURES: Mapping[str, type[CheckFailed]] = {"label": OutOfRange, "probability": RefusedValue}
_LABELS_AS_VALUES: Mapping[str, type[CheckFailed]] = {"label": RefusedValue}


MORE_REDUCTIONS: Mapping[str, tuple[str, ...]] = {"kl_div_loss": ("batchmean",)}
"""What operations have beside the reductions of all losses."""


def _reduction(reduction: Any, retired: Sequence[Any], accepted: Sequence[str]) -> str:
    """The reduction that is meant: torch's retired arguments count before `reduction`. Raises LirError."""
    if any(value is not None for value in retired):
        averages, reduces = (value is None or bool(value) for value in retired)
        meant = "none" if not reduces else "mean" if averages else "sum"
        warn(f"size_average and reduce are retired: write reduction={meant!r}")
        return meant
    if reduction == "elementwise_mean":
        warn("reduction='elementwise_mean' is retired: write reduction='mean'")
        return "mean"
    if reduction not in accepted:
        raise LirError(f"unknown reduction {reduction!r}", f"expected one of {', '.join(accepted)}")
    return reduction


_ELEMENTS = {"layout": shapes.elements, "body": bodies.stretched}
_PLAIN = "input, target, size_average=None, reduce=None, reduction='mean'"

_ROWS = (
    # --- torch's, in its order of arguments ---
    Row("cross_entropy", "cross_entropy_loss",
        "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', "
        "label_smoothing=0.0", "input target weight", of_classes.classes, bodies.labels_or_distribution),
    Row("nll_loss", "nll_loss",
        "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'",
        "input target weight", of_classes.classes, bodies.labels_or_distribution),
    Row("linear_cross_entropy", "linear_cross_entropy_loss",
        "input, linear_weight, target, *, linear_bias=None, weight=None, reduction='mean', ignore_index=None, "
        "label_smoothing=0.0, options=None",
        "input linear_weight target linear_bias weight", of_classes.layer_and_classes, bodies.after_a_layer),
    Row("binary_cross_entropy", "bce_loss", f"input, target, weight=None, {_OLD}",
        "input target weight", shapes.alike, bodies.of_probabilities),
    Row("binary_cross_entropy_with_logits", "bce_with_logits_loss",
        f"input, target, weight=None, {_OLD}, pos_weight=None",
        "input target weight pos_weight", shapes.alike, bodies.stretched),
    Row("mse_loss", "mse_loss", f"input, target, {_OLD}, weight=None", "input target weight",
        shapes.warned, bodies.averaged_by_weight, deciding="input target weight", whole=True),
    Row("l1_loss", "l1_loss", f"input, target, {_OLD}, weight=None", "input target weight",
        shapes.warned, bodies.averaged_by_weight, deciding="input target weight", whole=True),
    Row("smooth_l1_loss", "smooth_l1_loss", f"input, target, {_OLD}, beta=1.0", "input target",
        shapes.warned, bodies.stretched, whole=True),
    Row("huber_loss", "huber_loss", "input, target, reduction='mean', delta=1.0, weight=None", "input target weight",
        shapes.warned, bodies.averaged_by_count, deciding="input weight"),
    Row("kl_div", "kl_div_loss", f"input, target, {_OLD}, log_target=False", "input target",
        shapes.divergence, bodies.divided_by_batch),
    Row("poisson_nll_loss", "poisson_nll_loss",
        "input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction='mean'",
        "input target", whole=True, **_ELEMENTS),
    Row("gaussian_nll_loss", "gaussian_nll_loss", "input, target, var, full=False, eps=1e-6, reduction='mean'",
        "input target var", shapes.normal, bodies.stretched, whole=True),
    Row("cosine_embedding_loss", "cosine_embedding_loss", f"input1, input2, target, margin=0, {_OLD}",
        "input1 input2 target", shapes.pairs, bodies.of_pairs, deciding="input1 input2", whole=True),
    Row("hinge_embedding_loss", "hinge_embedding_loss", f"input, target, margin=1.0, {_OLD}", "input target",
        deciding="input", **_ELEMENTS),
    Row("margin_ranking_loss", "margin_ranking_loss", f"input1, input2, target, margin=0, {_OLD}",
        "input1 input2 target", shapes.ranked, bodies.stretched, whole=True),
    Row("soft_margin_loss", "soft_margin_loss", _PLAIN, "input target", deciding="input", **_ELEMENTS),
    Row("multi_margin_loss", "multi_margin_loss", f"input, target, p=1, margin=1.0, weight=None, {_OLD}",
        "input target weight", of_classes.few_classes, failures=_LABELS_AS_VALUES),
    Row("multilabel_margin_loss", "multilabel_margin_loss", _PLAIN, "input target", of_classes.label_lists,
        failures=_LABELS_AS_VALUES),
    Row("multilabel_soft_margin_loss", "bce_with_logits_loss", f"input, target, weight=None, {_OLD}",
        "input target weight", shapes.labelled_classes, bodies.over_classes),
    Row("triplet_margin_loss", "triplet_loss",
        f"anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, {_OLD}",
        "anchor positive negative", shapes.triples, bodies.of_rows, whole=True),
    Row("softmax", "softmax", "input, dim=None, _stacklevel=3, dtype=None", "input", shapes.one_axis,
        bodies.along_axis_1),
    Row("log_softmax", "log_softmax", "input, dim=None, _stacklevel=3, dtype=None", "input", shapes.one_axis,
        bodies.along_axis_1),
    # --- lossc's own ---
    Row("hinge_loss", "hinge_loss", "input, target, reduction='mean'", "input target", **_ELEMENTS),
    Row("squared_hinge_loss", "squared_hinge_loss", "input, target, reduction='mean'", "input target", **_ELEMENTS),
    Row("log_cosh_loss", "log_cosh_loss", "input, target, reduction='mean'", "input target", **_ELEMENTS),
    Row("sigmoid_focal_loss", "sigmoid_focal_loss", "input, target, alpha=None, gamma=2.0, reduction='mean'",
        "input target", shapes.same_logits),
    Row("focal_cross_entropy_loss", "focal_cross_entropy_loss",
        "input, target, gamma=2.0, weight=None, ignore_index=-100, reduction='mean'", "input target weight",
        of_classes.classes),
    Row("poly_cross_entropy_loss", "poly_cross_entropy_loss",
        "input, target, epsilon=2.0, weight=None, ignore_index=-100, reduction='mean'", "input target weight",
        of_classes.classes, bodies.labels_or_distribution),
    Row("dice_loss", "dice_loss", "input, target, smooth=1.0, from_logits=False, reduction='mean'", "input target",
        of_classes.regions),
    Row("tversky_loss", "tversky_loss",
        "input, target, smooth=1.0, alpha=0.5, beta=0.5, from_logits=False, reduction='mean'", "input target",
        of_classes.regions),
    Row("js_div_loss", "js_div_loss", "p_logits, q_logits, beta=0.5, reduction='mean'", "p_logits q_logits",
        of_classes.logits_pair),
    Row("distillation_loss", "distillation_loss", "student, teacher, temperature=1.0, reduction='mean'",
        "student teacher", of_classes.logits_pair),
    Row("info_nce_loss", "info_nce_loss", "queries, keys, temperature=0.07, reduction='mean'", "queries keys",
        shapes.queries),
    Row("l2_loss", "l2_loss", "input, reduction='mean'", "input", shapes.elements),
    Row("l1_regularization", "l1_regularization", "input, reduction='mean'", "input", shapes.elements),
)  # fmt: skip

LOSSES: Mapping[str, Row] = {row.name: row for row in _ROWS}
