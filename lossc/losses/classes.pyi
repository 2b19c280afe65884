# ruff: noqa
"""Written by `make docs`; a test compares."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from lossc.ir.tensor import Tensor

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "DistillationLoss",
    "FocalCrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "InfoNCELoss",
    "JSDivLoss",
    "KLDivLoss",
    "L1Loss",
    "L1Regularization",
    "L2Loss",
    "LinearCrossEntropyLoss",
    "LogCoshLoss",
    "Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "PolyCrossEntropyLoss",
    "SigmoidFocalLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "SquaredHingeLoss",
    "TripletMarginLoss",
    "TverskyLoss",
]

class Loss:
    operation: str
    settings: dict[str, Any]
    def __init__(self, **settings: Any) -> None: ...
    def __call__(self, *operands: Any, **keywords: Any) -> Tensor: ...

class BCELoss(Loss):
    """-w (t log x + (1 - t) log(1 - x)) for probabilities x in [0, 1]."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        pred: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class BCEWithLogitsLoss(Loss):
    """softplus(x) - x t; with pos_weight p: (1 - t) softplus(x) + p t softplus(-x)."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | ArrayLike | None = None,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        logits: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class CosineEmbeddingLoss(Loss):
    """Pairs of vectors: 1 - cos for those that belong together (t = 1), max(0, cos - margin) for the others (t = -1)."""

    def __init__(
        self,
        margin: float | Tensor = 0.0,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x1: Tensor,
        x2: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class CrossEntropyLoss(Loss):
    """-log softmax(x)[y] for labels y, or -sum_c t[c] log softmax(x)[c] for distributions t."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        axis: int | None = None,
        empty: str = "nan",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        logits: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class DiceLoss(Loss):
    """1 - (tp + s) / (tp + fp / 2 + fn / 2 + s): one minus the Dice coefficient, for each sample and class."""

    def __init__(
        self,
        smooth: float | Tensor = 1.0,
        from_logits: bool = False,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        probs: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class DistillationLoss(Loss):
    """How far a student's distribution is from its teacher's, both softened by a temperature, one a row."""

    def __init__(
        self,
        temperature: float | Tensor = 1.0,
        axis: int | None = None,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class FocalCrossEntropyLoss(Loss):
    """(1 - p_y)^gamma times cross-entropy, with p = softmax(x)."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        gamma: float | Tensor = 2.0,
        ignore_index: int | None = None,
        axis: int | None = None,
        reduction: str = "mean",
        empty: str = "nan",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        logits: Tensor,
        y: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class GaussianNLLLoss(Loss):
    """Negative log-likelihood of t, of a normal distribution with mean x and variance var."""

    def __init__(
        self,
        *,
        full: bool = False,
        eps: float = 1e-06,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        var: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class HingeEmbeddingLoss(Loss):
    """Distances x: x itself for pairs that belong together (t = 1), max(0, margin - x) for the others (t = -1)."""

    def __init__(
        self,
        margin: float | Tensor = 1.0,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class HingeLoss(Loss):
    """max(0, 1 - x t), for targets of -1 and 1."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        pred: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class HuberLoss(Loss):
    """Squares near 0, straight lines far out: d^2/2 if |d| <= delta, else delta (|d| - delta/2)."""

    def __init__(
        self,
        reduction: str = "mean",
        delta: float | Tensor = 1.0,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class InfoNCELoss(Loss):
    """Each query is to find its key among all keys: cross-entropy over the cosines, its own row's key the label."""

    def __init__(
        self,
        temperature: float | Tensor = 0.07,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        queries: Tensor,
        keys: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class JSDivLoss(Loss):
    """Generalised Jensen-Shannon divergence of P = softmax(p_logits) and Q = softmax(q_logits), one a row."""

    def __init__(
        self,
        beta: float = 0.5,
        axis: int | None = None,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        p_logits: Tensor,
        q_logits: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class KLDivLoss(Loss):
    """The terms of KL(t || exp(log_probs)), t (log t - x) with x = log_probs."""

    def __init__(
        self,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        log_probs: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class L1Loss(Loss):
    """Absolute error, |d| with d = x - t."""

    def __init__(
        self,
        reduction: str = "mean",
        *,
        weight: Tensor | ArrayLike | None = None,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class L1Regularization(Loss):
    """The absolute value of each weight, |w|."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        w: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class L2Loss(Loss):
    """Half the square of each weight, w^2 / 2."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        w: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class LinearCrossEntropyLoss(Loss):
    """cross_entropy_loss of the logits hidden @ weight^T + bias, never holding more of them than `memory_budget` bytes."""

    def __init__(
        self,
        class_weight: Tensor | ArrayLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        empty: str = "nan",
        memory_budget: int = 67108864,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        hidden: Tensor,
        weight: Tensor,
        target: Tensor,
        bias: Tensor | None = None,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class LogCoshLoss(Loss):
    """The logarithm of cosh d, a square near 0 and |d| - log 2 far out, without overflow."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class MSELoss(Loss):
    """Squared error, d^2 with d = x - t."""

    def __init__(
        self,
        reduction: str = "mean",
        *,
        weight: Tensor | ArrayLike | None = None,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class MarginRankingLoss(Loss):
    """The first is to rank higher than the second (t = 1) or lower (t = -1): max(0, -t (x1 - x2) + margin)."""

    def __init__(
        self,
        margin: float | Tensor = 0.0,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x1: Tensor,
        x2: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class MultiLabelMarginLoss(Loss):
    """The mean over classes of max(0, 1 - (x[y_j] - x[i])) for every target y_j and every class i that is no target."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        y: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class MultiLabelSoftMarginLoss(Loss):
    """The mean over classes of binary cross-entropy with logits."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        reduction: str = "mean",
        *,
        axis: int | None = None,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class MultiMarginLoss(Loss):
    """The mean over classes of max(0, margin - x[y] + x[c])^p for c other than the label y."""

    def __init__(
        self,
        p: int = 1,
        margin: float | Tensor = 1.0,
        weight: Tensor | ArrayLike | None = None,
        reduction: str = "mean",
        *,
        axis: int | None = None,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        y: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class NLLLoss(Loss):
    """-w[y] x[y] for labels y, or -sum_c w[c] t[c] x[c] for distributions t; averaged as cross_entropy_loss."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        *,
        axis: int | None = None,
        empty: str = "nan",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        log_probs: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class PoissonNLLLoss(Loss):
    """Negative log-likelihood of counts t, of a Poisson distribution of rate exp(x), or x without log_input."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-08,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class PolyCrossEntropyLoss(Loss):
    """Cross-entropy plus epsilon (1 - p_y), with p = softmax(x): the first term of its series in 1 - p_y counts more."""

    def __init__(
        self,
        weight: Tensor | ArrayLike | None = None,
        epsilon: float | Tensor = 2.0,
        ignore_index: int | None = None,
        axis: int | None = None,
        reduction: str = "mean",
        empty: str = "nan",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        logits: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class SigmoidFocalLoss(Loss):
    """(1 - p_t)^gamma times binary cross-entropy with logits, with p_t the probability given to the target."""

    def __init__(
        self,
        alpha: float | None = None,
        gamma: float | Tensor = 2.0,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        logits: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class SmoothL1Loss(Loss):
    """The absolute error, with a square of width beta in place of its kink: huber / beta."""

    def __init__(
        self,
        reduction: str = "mean",
        beta: float | Tensor = 1.0,
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class SoftMarginLoss(Loss):
    """log(1 + exp(-t x)), for targets of -1 and 1, without overflow."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        pred: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class SquaredHingeLoss(Loss):
    """max(0, 1 - x t)^2, for targets of -1 and 1."""

    def __init__(
        self,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        pred: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class TripletMarginLoss(Loss):
    """An anchor is to be closer to the positive than to the negative by a margin: max(0, d(a, p) - d(a, n) + margin)."""

    def __init__(
        self,
        margin: float | Tensor = 1.0,
        p: float = 2.0,
        eps: float = 1e-06,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

class TverskyLoss(Loss):
    """1 - (tp + s) / (tp + alpha fp + beta fn + s): false positives and negatives weigh apart."""

    def __init__(
        self,
        smooth: float | Tensor = 1.0,
        alpha: float | Tensor = 0.5,
        beta: float | Tensor = 0.5,
        from_logits: bool = False,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(  # type: ignore[override]
        self,
        probs: Tensor,
        t: Tensor,
        *,
        sample_weight: Tensor | None = None,
    ) -> Tensor: ...

LOSSES: Mapping[str, type[Loss]]
TORCH_ORDER: Mapping[str, tuple[str, ...]]

def stub() -> str: ...
def class_name(operation: str) -> str: ...
