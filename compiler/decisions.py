"""What a fused kernel is wanted to be, by somebody who measured. Data alone: no strategy is loaded for it."""

from __future__ import annotations

from ..ir.frozen import frozen


@frozen
class Candidate:
    """A strategy, and the settings in which it differs from what it does by itself.

    A setting with the name of a field of DeviceInfo is what the strategy is told of the device: `vector_width` 8,
    `nontemporal_stores` 0, `compute_units` times four, which means more and smaller work-items.
    """

    strategy: str
    settings: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.strategy}{''.join(f', {name} = {value}' for name, value in self.settings)}"


@frozen
class Decision:
    """What somebody who measured wants a fused kernel to be, and why."""

    candidate: Candidate
    why: str
