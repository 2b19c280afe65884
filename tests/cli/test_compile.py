"""`lossc compile`, `lossc dump`, `lossc explain`: every level, as text and as a folder that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossc.ir.arithmetic import index_var
from lossc.ir.kernel import Apply, Const
from lossc.ir.parser import load, parse
from lossc.ir.printer import equal_modules
from lossc.ir.program_text import parse_program, print_program
from lossc.reports.words import folded, readable

Command = Callable[..., Any]

GIVEN = ("--input", "all.npz")
PRESET = ("--device", "cpu-avx512")


@pytest.mark.parametrize("level", ["lir", "grad", "fused"])
def test_a_level_that_is_lir_parses_back(lossc: Command, level: str) -> None:
    done = lossc("compile", "f.lir", "--grad", "--emit", level, *PRESET)
    assert done.status == 0, done.err
    module = parse(done.out)
    assert equal_modules(parse(done.out), module)
    kinds = {function.kind for function in module.functions.values()}
    assert kinds == ({"func", "kernel"} if level == "fused" else {"func"})
    assert module.entry.names_of_outputs == ("loss", "grad_x")


def test_loss_and_gradient_are_one_kernel(lossc: Command) -> None:
    done = lossc("compile", "f.lir", "--grad", "--emit", "fused", *PRESET)
    assert len(re.findall("^kernel @", done.out, re.MULTILINE)) == 1


def test_the_level_lir_is_the_program_itself(lossc: Command) -> None:
    done = lossc("compile", "f.lir", "--emit", "lir")
    assert equal_modules(parse(done.out), load("f.lir"))


def test_the_schedule_stands_above_its_kernel(lossc: Command) -> None:
    done = lossc("compile", "f.lir", "--emit", "schedule", *PRESET)
    assert done.status == 0
    above = re.search(r"// domain .*\n((?:// .*\n)+)kernel @f_0", done.out)
    assert above is not None
    kernel = parse(done.out).functions["f_0"]
    values = [*kernel.inputs, *(result for op in kernel.ops for result in op.results)]
    assert re.findall(r"^// %(\S+): ", above[1], re.MULTILINE) == [value.name for value in values]


def test_the_level_kernels_parses_back(lossc: Command) -> None:
    done = lossc("compile", "f.lir", "--grad", "--emit", "kernels", *PRESET)
    assert print_program(parse_program(done.out)).strip() == done.out.strip()


def test_opencl_is_what_compile_prints(lossc: Command) -> None:
    done = lossc("compile", "f.lir", *PRESET)
    assert done.status == 0
    assert done.out == lossc("compile", "f.lir", "--emit", "cl", *PRESET).out
    assert "kernel void f_0" in done.out
    assert done.err == ""


def test_presets_and_strategies_give_other_kernels(lossc: Command) -> None:
    cpu = lossc("compile", "f.lir", *PRESET)
    gpu = lossc("compile", "f.lir", "--device", "gpu_generic")
    forced = lossc("compile", "f.lir", *PRESET, "--strategy", "row-group")
    assert len({cpu.out, gpu.out, forced.out}) == 3
    assert "strategy row-group" in forced.out
    assert "strategy row-group" not in cpu.out


def test_a_device_of_this_machine_is_compiled_for(lossc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    name = json.loads(lossc("devices", "--json").out)[0]["name"]
    assert name in lossc("explain", "f.lir", "--device", "0").out.splitlines()[0]
    monkeypatch.setenv("LOSSC_DEVICE", "gpu-generic")
    assert "@f for GPU (preset)" in lossc("explain", "f.lir").out


def test_a_bundle_has_what_another_program_needs(lossc: Command, folder: Path) -> None:
    assert lossc("compile", "f.lir", "--grad", "-o", "out/deep", *PRESET).status == 0
    written = {path.relative_to(folder / "out/deep").as_posix() for path in (folder / "out/deep").rglob("*.*")}
    manifest = json.loads((folder / "out/deep/manifest.json").read_text())
    kernels = {
        launch["file"] for step in manifest["steps"] for variant in step["variants"] for launch in variant["launches"]
    }
    assert written == {"module.lir", "manifest.json", *kernels}
    assert kernels
    assert [output["name"] for output in manifest["outputs"]] == ["loss", "grad_x"]


def test_a_folder_keeps_no_kernels_of_an_earlier_program(lossc: Command, folder: Path) -> None:
    lossc("compile", "f.lir", "--grad", "-o", "out", *PRESET, "--strategy", "row-item")
    first = set((folder / "out/kernels").iterdir())
    (folder / "out/kernels/mine.cl").write_text("a file of the user")
    (folder / "out/notes.txt").write_text("a file of the user")
    lossc("compile", "f.lir", "--grad", "-o", "out", *PRESET, "--strategy", "row-group")
    second = set((folder / "out/kernels").iterdir())
    mine = folder / "out/kernels/mine.cl"
    assert mine in second
    assert not first & second
    assert (folder / "out/notes.txt").exists()


def test_a_failure_leaves_a_bundle_as_it_was(lossc: Command, folder: Path) -> None:
    lossc("compile", "f.lir", "-o", "out", *PRESET)
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*.*")}
    (folder / "f.lir").write_text((folder / "f.lir").read_text().replace("%labels\n", "%lables\n"))
    assert lossc("compile", "f.lir", "-o", "out", *PRESET).status == 1
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*.*")} == before


@pytest.mark.parametrize("command", ["compile", "dump"])
@pytest.mark.parametrize("manifest", ['{"name": "my page"}', "[1]", "no JSON"])
def test_a_folder_of_something_else_stays_as_it_is(lossc: Command, folder: Path, command: str, manifest: str) -> None:
    (folder / "site/kernels").mkdir(parents=True)
    (folder / "site/manifest.json").write_text(manifest)
    done = lossc(command, "f.lir", "-o", "site", *PRESET)
    assert done.status == 1
    assert "manifest.json that is no dump's" in done.err
    assert [path.name for path in (folder / "site").iterdir() if path.is_file()] == ["manifest.json"]
    assert (folder / "site/manifest.json").read_text() == manifest


@pytest.mark.parametrize("command", ["compile", "dump"])
def test_a_file_where_the_folder_should_be(lossc: Command, folder: Path, command: str) -> None:
    done = lossc(command, "f.lir", "-o", "x.npy", *PRESET)
    assert done.status == 1
    assert "cannot write to 'x.npy': it is a file" in done.err


# --- dumps --------------------------------------------------------------------------------------------------


@pytest.fixture
def dumped(lossc: Command, folder: Path) -> Path:
    assert lossc("dump", "f.lir", "--grad", "-o", "out").status == 0
    return folder / "out"


def test_a_dump_says_what_runs_and_why(dumped: Path) -> None:
    index = (dumped / "index.txt").read_text()
    kernels = sorted(path.stem for path in (dumped / "kernels").iterdir())
    for kernel in kernels:
        assert f"kernels/{kernel}.cl  on " in index
    for words in ("x: f32[B, 10]", "loss: f32[1]", "strategy ", "in groups of", "lossc run out", "-cl-"):
        assert words in index
    for name in ("module.lir", "prepared.lir", "fused.lir", "program.txt", "manifest.json"):
        assert name in index
        assert (dumped / name).stat().st_size
    assert load(dumped / "prepared.lir").entry.name == "f"


def test_a_dump_runs_as_the_program_does(lossc: Command, dumped: Path) -> None:
    direct = lossc("run", "f.lir", "--grad", *GIVEN, "--json")
    replayed = lossc("run", str(dumped), *GIVEN, "--json")
    assert replayed.status == 0, replayed.err
    assert replayed.out == direct.out


def test_the_kernels_of_a_dump_can_be_edited(lossc: Command, dumped: Path) -> None:
    for path in (dumped / "kernels").glob("*.cl"):
        text = path.read_text()
        path.write_text(re.sub(r"(v_loss\[0L\] = )(.*);", r"\g<1>2.0f * (\g<2>);", text))
    once = json.loads(lossc("run", "f.lir", *GIVEN, "--json").out)["results"][0]["values"][0]
    twice = json.loads(lossc("run", str(dumped), *GIVEN, "--json").out)["results"][0]["values"][0]
    assert twice == pytest.approx(2 * once)


def test_a_mistake_in_an_edited_kernel_is_the_users(lossc: Command, dumped: Path) -> None:
    for path in (dumped / "kernels").glob("*.cl"):
        path.write_text(path.read_text().replace("{", "{ no_such_thing;", 1))
    done = lossc("run", str(dumped), *GIVEN)
    assert done.status == 1
    assert "no_such_thing" in done.err
    named = re.search(r"the kernel is in (.*\.cl)", done.err)
    assert named is not None
    assert "no_such_thing" in Path(named[1]).read_text()
    assert "bug in lossc" not in done.err
    assert "LIR0003" not in done.err


def test_a_failed_check_in_a_dump(lossc: Command, dumped: Path) -> None:
    done = lossc("run", str(dumped), "--input", "x=x.npy", "--input", "labels=1,2,3,10")
    assert done.status == 1
    assert "found 10 at row 3" in done.err
    assert "prepared.lir:" in done.err


@pytest.mark.parametrize("name", ["program.txt", "manifest.json", "module.lir", "kernels"])
def test_a_damaged_dump(lossc: Command, dumped: Path, name: str) -> None:
    if name == "kernels":
        for path in (dumped / name).iterdir():
            path.unlink()
    else:
        (dumped / name).write_text("this is not what it was")
    done = lossc("run", str(dumped), *GIVEN)
    assert done.status == 1
    assert name in done.err
    if name == "manifest.json":
        assert re.search(r"manifest\.json:1:1: error\[LIR0015\]: .* is no JSON", done.err)


def test_options_that_a_dump_has_fixed(lossc: Command, dumped: Path) -> None:
    done = lossc("run", str(dumped), *GIVEN, "--grad")
    assert done.status == 1
    assert "lossc dump" in done.err


# --- explain ------------------------------------------------------------------------------------------------


def test_explain_says_what_fused_and_why(lossc: Command) -> None:
    done = lossc("explain", "f.lir", "--grad", *PRESET)
    assert done.status == 0
    assert "1 fused kernel" in done.out
    for words in ("strategy ", "traffic ratio", "stages", "f.lir:5:3"):
        assert words in done.out


def test_explain_at_sizes_shows_what_runs_then(lossc: Command) -> None:
    words = ("explain", "f.lir", "--grad", *PRESET)
    small, large = lossc(*words, "--bind", "B=64").out, lossc(*words, "--bind", "B=100000").out
    assert "at B = 64\n" in small
    assert re.search(r"traffic ratio [\d.]+ at B = 100000\n", large)
    (kernels,) = re.findall(r"fused kernels:\n(.*?)(?:\n\n|\Z)", large, re.DOTALL)
    ran = [line for line in kernels.splitlines() if " items" in line]
    assert len(ran) == 1
    assert re.search(r" on \d+ items", ran[0])
    assert "variants)" in ran[0]
    assert ran != [line for line in small.splitlines() if " items" in line]
    assert lossc(*words, "--bind", "C=3").status == 1
    ratio = json.loads(lossc(*words, "--bind", "B=64", "--json").out)["traffic_ratio"]
    assert f"traffic ratio {ratio:.2f} at B = 64" in small


def test_numbers_of_items_are_folded() -> None:
    b = index_var("B")
    one = Apply("max", (Const(1, "i64"), Apply("min", (Const(1, "i64"), b), "i64")), "i64")
    size = Apply("div", (Apply("add", (b, Apply("sub", (one, Const(1, "i64")), "i64")), "i64"), one), "i64")
    assert readable(folded(size)) == "B"
    both = Apply("max", (Const(1, "i64"), Apply("min", (Const(2, "i64"), b), "i64")), "i64")
    assert readable(folded(both)) == "max(1, min(2, B))"
    up = Apply("div", (Apply("add", (b, Const(7, "i64")), "i64"), Const(8, "i64")), "i64")
    assert readable(up) == "ceil(B / 8)"
    assert readable(Apply("mul", (Const(4, "i64"), up), "i64")) == "4 * ceil(B / 8)"
    assert readable(Apply("div", (Apply("add", (b, Const(6, "i64")), "i64"), Const(8, "i64")), "i64")) == "(B + 6) / 8"


@pytest.mark.parametrize("command", [("explain",), ("compile", "--emit", "fused"), ("dump", "-o", "out")])
def test_a_strategy_that_applies_nowhere_is_a_warning(lossc: Command, command: tuple[str, ...]) -> None:
    name, *words = command
    done = lossc(name, "f.lir", "--grad", *PRESET, "--strategy", "matmul", *words)
    assert done.status == 0
    assert "warning[LIR0205]: the strategy matmul applies to no kernel of this program, which runs by" in done.err
    assert "it has no matrix product" in done.err
    assert "LIR0205" not in lossc(name, "f.lir", "--grad", *PRESET, "--strategy", "row-item", *words).err


def test_a_device_to_compile_for_may_be_a_preset(lossc: Command) -> None:
    done = lossc("compile", "f.lir", "--device", "bogus")
    assert done.status == 3
    assert "presets cpu-avx512, gpu-generic, h200, oclgrind" in done.err


@pytest.mark.parametrize(
    ("text", "message"),
    [(b'{"like": "h200",\n}', "gpu.json:2:1: error[LIR0001]: gpu.json is no JSON"), (b"\xff\xfe", "is it JSON?")],
)
def test_a_description_that_is_no_json(lossc: Command, folder: Path, text: bytes, message: str) -> None:
    (folder / "gpu.json").write_bytes(text)
    done = lossc("compile", "f.lir", "--device", "gpu.json")
    assert done.status == 1
    assert message in done.err


def test_explain_of_several_kernels_shows_one_launch_where_it_is_taken(lossc: Command, folder: Path) -> None:
    """The labels that count are counted first: with few rows one work-item does both."""
    text = (folder / "f.lir").read_text().replace("%x, %labels\n", "%x, %labels {ignore_index = -100}\n")
    (folder / "ignoring.lir").write_text(text)
    words = ("explain", "ignoring.lir", "--grad", "--device", "cpu-avx512", "--bind")
    few, many = lossc(*words, "B=64"), lossc(*words, "B=8192")
    assert (few.status, many.status) == (0, 0), few.err + many.err
    assert "2 fused kernels, 1 launch\n" in few.out
    assert "all of them in one launch:\n  if B >= 16" in few.out
    assert "2 fused kernels, 3 launches\n" in many.out
    assert "all of them in one launch" not in many.out
    assert "all of them in one launch" in lossc(*words[:-1]).out


def test_explain_as_json(lossc: Command) -> None:
    facts = json.loads(lossc("explain", "f.lir", "--grad", *PRESET, "--json").out)
    (kernel,) = facts["kernels"]
    assert kernel["exps_per_element"] == 1
    assert kernel["strategy"] not in kernel["against"]
    assert facts["device"]["platform"] == "preset"
    assert 1 <= facts["traffic_ratio"] < 1.1
    assert {event["place"] for event in facts["rewritten"]} == {"f.lir:5:3"}


def test_what_stays_apart_is_explained(lossc: Command, folder: Path) -> None:
    text = (folder / "f.lir").read_text()
    (folder / "f.lir").write_text(text.replace("%labels\n", "%labels {ignore_index = 3}\n"))
    done = lossc("explain", "f.lir", "--grad", *PRESET, "--json")
    facts = json.loads(done.out)
    assert len(facts["kernels"]) == 2
    assert any("known only after all rows" in reason for reason in facts["kept_apart"])


def test_results_of_every_strategy_agree(lossc: Command) -> None:
    words = ("run", "f.lir", "--random", "2", "--bind", "B=50", "--grad", "--json")
    expected = json.loads(lossc(*words).out)["results"]
    for strategy in ("row-item", "row-group", "row-lanes"):
        found = json.loads(lossc(*words, "--strategy", strategy).out)["results"]
        for one, other in zip(expected, found):
            np.testing.assert_allclose(one["values"], other["values"], rtol=1e-5, atol=1e-7)
