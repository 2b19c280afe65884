"""The losses of `lossc.functional` and `lossc.torch` as a table: torch's signature beside lossc's operation.

In: nothing. Out: `LOSSES`, one row a function. A row says which operation of the IR the function is, which of its
parameters are tensors (in the order of the operation's operands), how their shapes are read, and which exception a
failed check becomes. What is neither a tensor nor one of torch's two retired arguments is an attribute of that name;
attributes that torch does not have stand by keyword behind its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping

from lossc.errors import RefusedValue
from lossc.ir.diagnostics import CheckFailed
from lossc.losses import bodies, shapes
from lossc.losses import class_shapes as of_classes
from lossc.losses.row import Row

_LABELS_AS_VALUES: Mapping[str, type[CheckFailed]] = {"label": RefusedValue}
_OLD = "size_average=None, reduce=None, reduction='mean'"
_ELEMENTS = {"layout": shapes.elements, "body": bodies.stretched}
_PLAIN = "input, target, size_average=None, reduce=None, reduction='mean'"

_ROWS = (
    # --- torch's, in its order of arguments ---
    Row("cross_entropy", "cross_entropy_loss",
        "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', "
        "label_smoothing=0.0, *, axis=None, empty='nan'", "input target weight", of_classes.classes,
        bodies.labels_or_distribution),
    Row("nll_loss", "nll_loss",
        "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', *, "
        "axis=None, empty='nan'", "input target weight", of_classes.classes, bodies.labels_or_distribution),
    Row("linear_cross_entropy", "linear_cross_entropy_loss",
        "input, linear_weight, target, *, linear_bias=None, weight=None, reduction='mean', ignore_index=None, "
        "label_smoothing=0.0, options=None, empty='nan', memory_budget=67108864",
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
        shapes.divergence, bodies.divided_by_batch, more_reductions=("batchmean",)),
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
    Row("multi_margin_loss", "multi_margin_loss", f"input, target, p=1, margin=1.0, weight=None, {_OLD}, *, axis=None",
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
        "input, target, gamma=2.0, weight=None, ignore_index=-100, reduction='mean', *, axis=None, empty='nan'",
        "input target weight", of_classes.classes),
    Row("poly_cross_entropy_loss", "poly_cross_entropy_loss",
        "input, target, epsilon=2.0, weight=None, ignore_index=-100, reduction='mean', *, axis=None, empty='nan'",
        "input target weight", of_classes.classes, bodies.labels_or_distribution),
    Row("dice_loss", "dice_loss", "input, target, smooth=1.0, from_logits=False, reduction='mean'", "input target",
        of_classes.regions),
    Row("tversky_loss", "tversky_loss",
        "input, target, smooth=1.0, alpha=0.5, beta=0.5, from_logits=False, reduction='mean'", "input target",
        of_classes.regions),
    Row("js_div_loss", "js_div_loss", "p_logits, q_logits, beta=0.5, reduction='mean', *, axis=None",
        "p_logits q_logits", of_classes.logits_pair),
    Row("distillation_loss", "distillation_loss", "student, teacher, temperature=1.0, reduction='mean', *, axis=None",
        "student teacher", of_classes.logits_pair),
    Row("info_nce_loss", "info_nce_loss", "queries, keys, temperature=0.07, reduction='mean'", "queries keys",
        shapes.queries),
    Row("l2_loss", "l2_loss", "input, reduction='mean'", "input", shapes.elements),
    Row("l1_regularization", "l1_regularization", "input, reduction='mean'", "input", shapes.elements),
)  # fmt: skip

LOSSES: Mapping[str, Row] = {row.name: row for row in _ROWS}

MORE_REDUCTIONS: Mapping[str, tuple[str, ...]] = {row.operation: row.more_reductions for row in _ROWS}
"""What operations have beside the reductions of all losses."""
