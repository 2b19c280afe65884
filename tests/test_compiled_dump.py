"""Looking inside compiled functions: dumps, explanations, sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiled_examples import classifier, squares

import lossc
from lossc.ir.parser import parse


def test_a_dump_reads_back_and_says_how_to_launch(tmp_path: Path) -> None:
    g = classifier()
    fn = g.compile(grad=True)
    folder = tmp_path / "new" / "dump"
    fn.dump(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    steps = [*manifest["steps"], *manifest["beside"]]
    files = {launch["file"] for step in steps for v in step["variants"] for launch in v["launches"]}
    assert {f"kernels/{path.name}" for path in (folder / "kernels").iterdir()} == files
    assert len(manifest["steps"]) == len(fn.kernels)
    names = {step["name"] for step in manifest["steps"]}
    assert manifest["beside"]
    assert all(set(several["steps"]) <= names for several in manifest["beside"])
    buffers = {buffer["name"] for buffer in manifest["buffers"]}
    for step in steps:
        assert step["variants"][-1]["guard"] is None
        for variant in step["variants"]:
            own = buffers | {buffer["name"] for buffer in variant["temporaries"]}
            for launch in variant["launches"]:
                text = (folder / launch["file"]).read_text()
                assert f"void {launch['kernel']}(" in text
                assert all(a["buffer"] in own for a in launch["arguments"] if a["kind"] == "buffer")
    index = (folder / "index.txt").read_text()
    assert f"lossc run {folder} " in index
    assert all(f"kernels/{path.name}" in index for path in (folder / "kernels").iterdir())
    for name in ("module.lir", "prepared.lir", "fused.lir"):
        parse((folder / name).read_text())
    assert "domain axis 0: B" in (folder / "fused.lir").read_text()


def test_a_dump_replaces_the_kernels_of_an_earlier_one(tmp_path: Path) -> None:
    classifier().compile(grad=True).dump(tmp_path / "dump")
    (tmp_path / "dump" / "kernels" / "mine.cl").write_text("// not lossc's")
    squares().dump(tmp_path / "dump")
    manifest = json.loads((tmp_path / "dump" / "manifest.json").read_text())
    files = {launch["file"] for step in manifest["steps"] for v in step["variants"] for launch in v["launches"]}
    there = {f"kernels/{path.name}" for path in (tmp_path / "dump" / "kernels").iterdir()}
    assert there == {*files, "kernels/mine.cl"}


def test_a_dump_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(lossc.LirError, match="cannot write to"):
        classifier().compile().dump(tmp_path / "file")


def test_explain_says_what_fused_and_why_not() -> None:
    text = classifier().compile(grad=True).explain()
    assert "rewritten:" in text
    assert "kept apart:" in text
    assert "strategy matmul" in text
    assert "if B >= " in text


def test_source_is_opencl_of_every_variant() -> None:
    fn = classifier().compile()
    assert all(source in fn.source for source in fn.sources.values())
    assert fn.source.count("kernel void") == len(fn.sources)
