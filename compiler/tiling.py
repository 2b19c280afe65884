"""How a matrix product on a CPU is cut into tiles and panels, turns and copies.

In: a product, facts of a device, the rows of a tile. Out: its `Tiling`: what fits the caches of a core, read in the
order in which it lies there.
"""

from __future__ import annotations

from ..ir.frozen import frozen
from ..ir.target import DeviceInfo
from ..ir.types import ITEM_SIZE
from .emission.vectors import narrowed, vector_width
from .product import Product

TILE_ROWS = (12, 4, 1)
"""Rows of a tile; fewer where the product has fewer."""
EVEN_ROWS, MOST_EVEN_ROWS = 8, 400
"""Rows of a tile where they divide those of a product so small that a last tile which overlaps costs more."""
PANEL_VECTORS = 2
PANELS = 8
DEPTH = 1024
"""Steps of the inner size in one turn."""
SUM_ROWS = 1032
"""Rows that a work-item has at most where their sums wait from turn to turn: so many share what it packs."""
STAGED_TILES = 4
"""Tiles of a left operand stored by columns that are copied at once: 48 rows are three lines of memory."""
IN_PLACE_TILES = 2
"""Tiles of rows up to which the right operand is read where it lies."""
IN_PLACE_VECTORS, IN_PLACE_SUMS = 8, 24
"""Vectors of a panel that is read in place at most, and sums of its tile."""
IN_PLACE_KEPT = 4096
"""Sums that a work-item keeps from turn to turn, half of a first-level cache."""
IN_PLACE_CACHES = 8
"""Caches of a core that an operand fills which comes from memory: so many streams of it, a row each, go abreast."""
IN_PLACE_TURN = 8
"""Steps of a turn then."""
MOST_TURNS = 2048
"""The results of so many turns are added up one by one: an f32 keeps four digits of them at the worst."""
OPERAND_PITCH = 2048
"""Bytes: rows of an operand that are a multiple of this apart displace each other in a first-level cache."""


@frozen
class Tiling:
    """A tile has `rows` rows and one panel of `vectors` vectors of `lanes` columns; a work-item packs up to `panels`
    panels, `depth` steps of the inner size at once, and copies so many `staged` tiles of the left operand. `sum_rows`
    is how many rows of sums it keeps: those of one tile, or of all its tiles where the inner size takes several turns.
    What no second tile would read is not packed; it `streams` from memory where it does not stay in a cache."""

    rows: int
    lanes: int
    vectors: int
    panels: int
    depth: int
    sum_rows: int
    one_turn: bool
    staged: int = 0
    packs: bool = True
    streams: bool = False

    @property
    def panel(self) -> int:
        return self.lanes * self.vectors

    @property
    def sum_pitch(self) -> int:
        return self.panel if self.one_turn else self.panel * self.panels


def tiling_of(product: Product, device: DeviceInfo, rows: int) -> Tiling:
    """The tiling of a product for tiles of so many rows, no more than it has."""
    lanes = vector_width(product.fused.schedule, device)
    return _packed(product, lanes, rows) if _packs(product, rows) else _in_place(product, device, lanes, rows)


def _packs(product: Product, tile_rows: int) -> bool:
    """Whether the right operand is read so often that a copy in order pays."""
    if product.right_turned or not isinstance(product.column_dim, int) or product.column_dim < 1:
        return True
    rows = product.row_dim
    if isinstance(rows, int):
        return -(-rows // tile_rows) > IN_PLACE_TILES
    # Where the number of rows has a name, the tiles for many rows are those of the usual size and the even ones.
    return tile_rows >= min(EVEN_ROWS, product.fused.setting("tile_rows", TILE_ROWS[0]))


def _packed(product: Product, lanes: int, tile_rows: int) -> Tiling:
    rows, columns, left, setting = product.row_dim, product.column_dim, product.left, product.fused.setting
    steps, one_turn = _turn(product, setting("depth", DEPTH))
    while isinstance(columns, int) and lanes // 2 >= max(1, columns):
        lanes //= 2
    vectors = PANEL_VECTORS if not isinstance(columns, int) or columns > lanes else 1
    panels = setting("panels", PANELS)
    if isinstance(columns, int):
        panels = min(panels, -(-max(1, columns) // (lanes * vectors)))
    sum_rows = tile_rows if one_turn else _whole_tiles(setting("sum_rows", SUM_ROWS), tile_rows)
    if isinstance(rows, int):
        sum_rows = min(sum_rows, _whole_tiles(max(rows, 1), tile_rows))
    pitch = left.type.shape[1]
    apart = pitch * ITEM_SIZE[left.type.dtype] if isinstance(pitch, int) else OPERAND_PITCH
    stages = left.type.dtype in ("f16", "bf16") or apart % OPERAND_PITCH == 0
    staged = (STAGED_TILES if product.left_turned else 1) if stages else 0
    return Tiling(tile_rows, lanes, vectors, panels, steps, sum_rows, one_turn, staged)


def _in_place(product: Product, device: DeviceInfo, lanes: int, tile_rows: int) -> Tiling:
    rows, columns, depth = product.row_dim, product.column_dim, product.depth_dim
    assert isinstance(columns, int)
    lanes = narrowed(lanes, columns)
    steps, one_turn = _turn(product, DEPTH)
    vectors = max(1, min(IN_PLACE_VECTORS, IN_PLACE_SUMS // tile_rows, columns // lanes))
    nbytes = depth * columns * ITEM_SIZE[product.right.type.dtype] if isinstance(depth, int) else 0
    # The rows of one panel are one stream anyway.
    streams = nbytes > IN_PLACE_CACHES * device.cache_per_unit and columns > lanes * vectors
    if isinstance(depth, int) and streams:
        steps, one_turn = max(IN_PLACE_TURN, -(-depth // MOST_TURNS)), False
    panels = max(1, min(-(-columns // (lanes * vectors)), IN_PLACE_KEPT // (tile_rows * lanes * vectors)))
    sum_rows = tile_rows if one_turn or not isinstance(rows, int) else _whole_tiles(max(rows, 1), tile_rows)
    return Tiling(tile_rows, lanes, vectors, panels, steps, sum_rows, one_turn, packs=False, streams=streams)


def _turn(product: Product, most: int) -> tuple[int, bool]:
    """Steps of the inner size in a turn, and whether there is one only."""
    depth = product.depth_dim
    one_turn = isinstance(depth, int) and depth <= most
    return (max(depth, 1), True) if isinstance(depth, int) and one_turn else (most, False)


def _whole_tiles(rows: int, tile_rows: int) -> int:
    return -(-rows // tile_rows) * tile_rows
