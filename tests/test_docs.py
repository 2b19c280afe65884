"""The pages in docs/ say what the code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lossc import functional, nn
from lossc.ir.codes import CODES
from lossc.ir.composites import COMPOSITES, Composite

DOCS = Path(__file__).parents[1] / "docs"
LOSSES = [composite for composite in COMPOSITES.values() if composite.kind == "loss"]


def writer(page: str = "losses") -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{page}", DOCS / f"{page}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[f"docs_{page}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("composite", LOSSES, ids=lambda composite: composite.name)
def test_every_loss_says_what_a_reader_asks(composite: Composite) -> None:
    module = writer()
    fields = module.fields_of(composite)
    assert tuple(fields) == ("Summary", *module.FIELDS)
    assert all(fields.values())
    assert fields["Summary"].endswith(".")
    assert "\n" not in fields["Summary"]
    assert "  " not in "".join(fields.values())


def test_the_page_of_losses_is_the_one_that_the_docstrings_make() -> None:
    assert (DOCS / "losses.md").read_text(encoding="utf-8") == writer().page(), "make docs"


def test_the_page_of_errors_has_every_code() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert text == writer("errors").page(), "make docs"
    assert re.findall(r"^\| `(LIR\d{4})` \| ", text, re.MULTILINE) == list(CODES)


def test_names_in_the_migration_table_exist() -> None:
    text = (DOCS / "migration.md").read_text(encoding="utf-8")
    cells = [cells for line in text.splitlines() if (cells := line.split(" | ")) and line.startswith("| `")]
    here = [name for row in cells for name in re.findall(r"`([A-Za-z_.0-9]+)`", row[1])]
    assert len(here) > 30
    for name in here:
        head, _, rest = name.partition(".")
        known = hasattr(nn, rest) if head == "nn" else hasattr(functional, rest) if head == "F" else None
        assert known or name in {*COMPOSITES, "nn", "F.", "ignore_index", "import", "empty"}, name
