"""Memory of a simulated launch: loads and stores with bounds, who touched what, and how many bytes went by.

In: flat arrays, indices and values with work-items along the first axis. Out: values; or `CompilerBug` for an
index out of bounds, for a race, for a read of local or private memory that nobody wrote.

Two work-items of a launch race where one stores what changes an element that the other stores or reads. In
local memory a barrier between the two orders them; in global memory nothing does. A store of the value that
is there already is no race: where a row's length is no multiple of the vector's, its last elements are
stored twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir.diagnostics import CompilerBug
from ..ir.frozen import frozen
from ..ir.types import ITEM_SIZE
from .arithmetic import EXPONENTIALS, poison, register_type

Array = np.ndarray[Any, Any]

_NOBODY, _SEVERAL = -1, -2


@dataclass
class Counts:
    """What launches did: elements by buffer, evaluations by operation (each lane of each item counts). `bytes_read` and
    `bytes_written` count an element once a launch, however often it was loaded or stored."""

    loaded: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    bytes_loaded: Counter[str] = field(default_factory=Counter)
    bytes_stored: Counter[str] = field(default_factory=Counter)
    bytes_read: Counter[str] = field(default_factory=Counter)
    bytes_written: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    launches: int = 0

    @property
    def exponentials(self) -> int:
        """Evaluations of exp and of what costs as much."""
        return sum(self.operations[op] for op in EXPONENTIALS)

    @property
    def bytes(self) -> int:
        return sum(self.bytes_loaded.values()) + sum(self.bytes_stored.values())

    def add(self, other: Counts, names: Mapping[str, str]) -> None:
        """Add what one launch did; `names` are the buffers of the kernel's arguments."""
        for mine, its in (
            (self.loaded, other.loaded), (self.stored, other.stored),
            (self.bytes_loaded, other.bytes_loaded), (self.bytes_stored, other.bytes_stored),
            (self.bytes_read, other.bytes_read), (self.bytes_written, other.bytes_written),
        ):  # fmt: skip
            for name, count in its.items():
                mine[names[name]] += count
        self.operations.update(other.operations)
        self.launches += other.launches


@frozen
class Items:
    """The work-items of a launch. `epoch` counts the barriers that each group has passed."""

    size: int
    local_size: int
    ids: Array
    groups: Array
    epoch: Array

    @staticmethod
    def of_launch(global_size: int, local_size: int) -> Items:
        ids = np.arange(global_size)
        return Items(global_size, local_size, ids, ids // local_size, np.zeros(global_size // local_size, np.int64))


@frozen
class Mask:
    """The work-items that take part: all of them where `active` is None. At least one does."""

    active: Array | None
    count: int

    def of(self, array: Array) -> Array:
        """The rows of `array` that belong to active items; a single row stands for every item."""
        if self.active is None or array.shape[0] != self.active.shape[0]:
            return array
        return array[self.active]


class History:
    """Who wrote and who read each element of one piece of memory, and at which epoch of the group."""

    def __init__(self, size: int):
        self.writer = np.full(size, _NOBODY)
        self.written_at = np.zeros(size, np.int64)
        self.reader = np.full(size, _NOBODY)
        self.read_at = np.zeros(size, np.int64)

    def races_with_writer(self, places: Array, item: Array, epoch: Array) -> Array:
        writer = self.writer[places]
        return (writer != _NOBODY) & (writer != item) & (self.written_at[places] >= epoch)

    def races_with_reader(self, places: Array, item: Array, epoch: Array) -> Array:
        reader = self.reader[places]
        return (reader != _NOBODY) & (reader != item) & (self.read_at[places] >= epoch)

    def note_write(self, places: Array, item: Array, epoch: Array) -> None:
        self.writer[places] = item
        self.written_at[places] = epoch

    def note_read(self, places: Array, item: Array, epoch: Array) -> None:
        known = self.reader[places]
        alone = (known == _NOBODY) | (known == item) | (self.read_at[places] < epoch)
        self.reader[places] = np.where(alone, item, _SEVERAL)
        # One instruction may read an element for several items: of equal places only the last was kept.
        self.reader[places[self.reader[places] != item]] = _SEVERAL
        self.read_at[places] = epoch


class Memory:
    """One buffer, or a local or private array with a copy for every group or work-item."""

    def __init__(self, kernel: str, name: str, dtype: str, data: Array, items: Items):
        self.where = f"kernel {kernel}: {name}:"
        self.name, self.dtype, self.data, self.items, self.size = name, dtype, data, items, data.size
        self.register_type = register_type(dtype)
        self.history: History | None = None
        self.counts: Counts | None = None
        self.loaded = self.stored = np.zeros(0, np.bool_)
        self.written: Array | None = None
        self.base: Array | None = None
        self.ordered = False

    @staticmethod
    def buffer(kernel: str, name: str, dtype: str, data: Array, items: Items,
               history: History | None, counts: Counts) -> Memory:  # fmt: skip
        """Global memory; without a history no races are looked for."""
        memory = Memory(kernel, name, dtype, data, items)
        memory.history, memory.counts = history, counts
        memory.loaded, memory.stored = np.zeros(data.size, np.bool_), np.zeros(data.size, np.bool_)
        return memory

    @staticmethod
    def array(kernel: str, name: str, dtype: str, size: int, items: Items, local: bool) -> Memory:
        """A local array, one for each group, or a private one, for each work-item."""
        copies = items.epoch.size if local else items.size
        memory = Memory(kernel, name, dtype, poison(dtype, size * copies), items)
        memory.size = size
        memory.written = np.zeros(size * copies, np.bool_)
        memory.base = (items.groups if local else items.ids) * size
        memory.history, memory.ordered = (History(size * copies) if local else None), local
        return memory

    def load(self, index: Array, width: int, mask: Mask, aligned: bool = False) -> Array:
        """The values at `index`, in the type that registers have; masked-off items get some element."""
        places = _lanes_from(index, width)
        if aligned:
            self._check_aligned(index, width, mask)
        outside = self._outside(places, mask, "loads")
        if outside is not None:
            places = np.where(outside, 0, places)
        if self.base is not None or self.history is not None:
            places = self._for_all_items(places)
            self._check_read(places, mask)
        if self.counts is not None:
            self.counts.loaded[self.name] += mask.count * width
            self.counts.bytes_loaded[self.name] += mask.count * width * ITEM_SIZE[self.dtype]
            if self.size:
                self.loaded[mask.of(places)] = True
        if self.size == 0:
            return np.zeros(places.shape, self.register_type)
        return self.data[places].astype(self.register_type, copy=False)

    def store(self, index: Array, value: Array, width: int, mask: Mask, aligned: bool) -> None:
        """Store the values of active items, rounded to the type in memory; `aligned` to whole vectors."""
        places = _lanes_from(index, width)
        self._outside(places, mask, "stores")
        if aligned:
            self._check_aligned(index, width, mask)
        places = mask.of(self._for_all_items(places))
        values = np.broadcast_to(mask.of(value), places.shape).astype(self.data.dtype)
        if self.history is not None:
            self._check_write(self.history, places, values, mask)
        self.data[places] = values
        self._check_stored(places, values, mask)
        if self.written is not None:
            self.written[places] = True
        if self.counts is not None:
            self.counts.stored[self.name] += mask.count * width
            self.counts.bytes_stored[self.name] += mask.count * width * ITEM_SIZE[self.dtype]
            self.stored[places] = True

    def count_once(self) -> None:
        """Note the elements that the launch has loaded and stored at all."""
        if self.counts is not None:
            self.counts.bytes_read[self.name] += int(self.loaded.sum()) * ITEM_SIZE[self.dtype]
            self.counts.bytes_written[self.name] += int(self.stored.sum()) * ITEM_SIZE[self.dtype]

    def atomic_min(self, index: Array, value: Array, mask: Mask) -> None:
        """The least of what is there and what active items bring. Atomic operations race with nothing."""
        self._outside(index, mask, "stores")
        places = mask.of(self._for_all_items(index))
        np.minimum.at(self.data, places, np.broadcast_to(mask.of(value), places.shape))

    def _check_aligned(self, index: Array, width: int, mask: Mask) -> None:
        if np.any(mask.of(index) % width):
            raise CompilerBug(f"{self.where} an aligned vector at an index that is no multiple of {width}")

    def _outside(self, places: Array, mask: Mask, verb: str) -> Array | None:
        """None if every index is in bounds, else which are not, all of masked-off items."""
        if places.size == 0 or (places.min() >= 0 and places.max() < self.size):
            return None
        outside = (places < 0) | (places >= self.size)
        wrong = mask.of(outside)
        if wrong.any():
            index = int(mask.of(places)[wrong][0])
            item = int(mask.of(self.items.ids)[np.argwhere(wrong)[0][0]])
            raise CompilerBug(f"{self.where} work-item {item} {verb} index {index} of {self.size} elements")
        return outside

    def _for_all_items(self, places: Array) -> Array:
        """Positions in `data`, one row for every item."""
        if self.base is not None:
            return places + _as_rows(self.base, places.ndim)
        return np.broadcast_to(places, (self.items.size, *places.shape[1:]))

    def _items_at(self, places: Array, mask: Mask) -> tuple[Array, Array]:
        """The work-item at each of the active `places`, and the barriers that order it with others."""
        item = np.broadcast_to(_as_rows(mask.of(self.items.ids), places.ndim), places.shape)
        epoch = self.items.epoch[self.items.groups[item]] if self.ordered else np.zeros_like(item)
        return item, epoch

    def _check_read(self, places: Array, mask: Mask) -> None:
        places = mask.of(places)
        if self.written is not None and not self.written[places].all():
            place = int(places[~self.written[places]][0])
            raise CompilerBug(f"{self.where} element {place % self.size} is read but was never written")
        if self.history is not None:
            item, epoch = self._items_at(places, mask)
            races = self.history.races_with_writer(places, item, epoch)
            self._refuse(races, places, item, self.history.writer, "reads", "stored")
            self.history.note_read(places, item, epoch)

    def _check_write(self, history: History, places: Array, values: Array, mask: Mask) -> None:
        item, epoch = self._items_at(places, mask)
        changes = _bits(self.data[places]) != _bits(values)
        races = changes & history.races_with_writer(places, item, epoch)
        self._refuse(races, places, item, history.writer, "changes", "stored")
        races = changes & history.races_with_reader(places, item, epoch)
        self._refuse(races, places, item, history.reader, "changes", "read")
        history.note_write(places, item, epoch)

    def _check_stored(self, places: Array, values: Array, mask: Mask) -> None:
        lost = _bits(self.data[places]) != _bits(values)
        if lost.any():
            place = int(places[lost][0])
            item, _ = self._items_at(places, mask)
            raise CompilerBug(
                f"{self.where} race: element {place % self.size} is stored with different values at once",
                f"by work-items {np.unique(item[places == place]).tolist()}",
            )

    def _refuse(self, races: Array, places: Array, item: Array, others: Array, verb: str, did: str) -> None:
        if races.any():
            place, other = int(places[races][0]), int(others[places[races][0]])
            who = f"work-item {other}" if other >= 0 else "several work-items"
            raise CompilerBug(
                f"{self.where} race: work-item {int(item[races][0])} {verb} element {place % self.size}, "
                f"which {who} {did}, with nothing to order the two"
            )


def _lanes_from(index: Array, width: int) -> Array:
    """The index of every lane: an index a lane already, or `width` consecutive ones from a scalar index."""
    return index if index.ndim == 2 or width == 1 else index[:, None] + np.arange(width)


def _as_rows(values: Array, rank: int) -> Array:
    return values if rank == 1 else values[:, None]


def _bits(array: Array) -> Array:
    """What tells values apart: -0 from 0, and of NaNs nothing, whose sign hangs on how NumPy adds."""
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))
