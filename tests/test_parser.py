"""Reading: what the .lir tests beside this file cannot show. Files, limits, hostile texts, sizes."""

from __future__ import annotations

from pathlib import Path

import lirtest
import pytest

from lossc.ir.attributes import attribute_text
from lossc.ir.diagnostics import LirError, LosscError
from lossc.ir.parser import load, parse
from lossc.ir.printer import print_module
from lossc.ir.syntax import KEYWORDS

IDENTITY = "func @f(%x: f32[B]) -> (f32[B]) {\n  return %x\n}\n"


def codes(text: str, **arguments: str) -> list[str]:
    """The codes of all mistakes in a text, in order."""
    with pytest.raises(LirError) as caught:
        parse(text, **arguments)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def body(*statements: str, inputs: str = "%x: f32[B]") -> str:
    lines = "".join(f"  {statement}\n" for statement in statements)
    return f"func @f({inputs}) -> () {{\n{lines}  return\n}}\n"


# --- files --------------------------------------------------------------------------------------------------------


def test_samples_load_and_print_back() -> None:
    samples = sorted((lirtest.ROOT.parent / "samples").glob("*.lir"))
    assert samples
    for sample in samples:
        lirtest.check_round_trip(load(sample))


def test_the_digits_sample_is_what_its_comment_says() -> None:
    function = load(lirtest.ROOT.parent / "samples" / "digits.lir").entry
    assert [value.name for value in function.inputs] == ["x", "labels", "w1", "b1", "w2", "b2"]
    assert {value.name for value in function.params} == {"w1", "b1", "w2", "b2"}
    assert function.names_of_outputs == ("loss", "logits")
    assert [str(value.type) for value in function.outputs] == ["f32[1]", "f32[B, 10]"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b" " * (16 * 2**20 + 1), "more than"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "program.lir"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LirError, match=words) as caught:
        load(path)
    assert "program.lir" in str(caught.value)
    assert caught.value.diagnostics[0].code == "LIR0015"


def test_a_folder_and_a_path_with_a_zero_character_are_refused(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "a\0b.lir")):
        with pytest.raises(LirError, match="cannot read"):
            load(path)


def test_a_text_without_a_directory_imports_nothing() -> None:
    assert codes('import "a.lir"\n' + IDENTITY) == ["LIR0015"]


def test_imports_are_relative_to_the_importing_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "shared.lir").write_text(IDENTITY.replace("@f", "@shared"))
    (tmp_path / "inner" / "middle.lir").write_text(
        'import "../shared.lir"\n'
        + IDENTITY.replace("@f", "@middle").replace("return %x", "%y = call @shared(%x)\n return %y")
    )
    text = 'import "inner/middle.lir"\n' + IDENTITY.replace("return %x", "%y = call @middle(%x)\n return %y")
    assert list(parse(text, directory=tmp_path).functions) == ["f", "middle", "shared"]
    (tmp_path / "main.lir").write_text(text)
    assert load(tmp_path / "main.lir").entry.name == "f"


def test_a_file_of_imports_alone_keeps_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.lir").write_text(IDENTITY)
    assert list(parse('import "a.lir"', directory=tmp_path).functions) == ["f"]


def test_mistakes_in_an_imported_file_are_placed_there(tmp_path: Path) -> None:
    (tmp_path / "a.lir").write_text(IDENTITY.replace("return %x", "return %y"))
    with pytest.raises(LirError, match=r"a\.lir:2:10: error\[LIR0020\]: %y is not defined"):
        parse('import "a.lir"\n' + IDENTITY.replace("@f", "@g"), directory=tmp_path)


def test_a_cycle_of_imports_names_its_files(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / f"{name}.lir").write_text(f'import "{other}.lir"\n')
    with pytest.raises(LirError, match=r"a cycle of imports: .*b\.lir imports .*c\.lir imports .*b\.lir"):
        load(tmp_path / "a.lir")


def test_a_name_defined_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lir").write_text(IDENTITY)
    with pytest.raises(LirError, match="the function @f is defined twice"):
        parse('import "a.lir"\n' + IDENTITY, directory=tmp_path)


# --- characters ---------------------------------------------------------------------------------------------------


def test_line_ends_byte_order_marks_and_missing_last_newlines_do_not_matter(tmp_path: Path) -> None:
    expected = print_module(parse(IDENTITY))
    assert print_module(parse(IDENTITY.replace("\n", "\r\n"))) == expected
    assert print_module(parse("\ufeff" + IDENTITY.rstrip())) == expected
    (tmp_path / "f.lir").write_bytes(b"\xef\xbb\xbf// lir 1\r\n" + IDENTITY.replace("\n", "\r\n").encode())
    assert print_module(load(tmp_path / "f.lir")) == expected


@pytest.mark.parametrize("version", ["2", "0", "1.5", "next"])
def test_another_version_of_the_language_is_refused(version: str) -> None:
    assert codes(f"// lir {version}\n{IDENTITY}") == ["LIR0014"]


def test_the_version_is_read_from_the_first_line_only() -> None:
    parse(f"// lir 1\n// lir 2\n{IDENTITY}")
    parse(f"// lir is a language\n{IDENTITY}")


@pytest.mark.parametrize(
    "value",
    [
        0.1,
        -0.0,
        1e-320,
        5e-324,
        1.7976931348623157e308,
        float("inf"),
        -float("inf"),
        1 / 3,
        1e22,
        2**53 + 0.0,
    ],
)
def test_floats_read_back_exactly(value: float) -> None:
    module = parse(body(f"%c = constant {{value = {attribute_text(value)}, dtype = f64}}"))
    read = module.functions["f"].ops[0].attributes["value"]
    assert (read, str(read)) == (value, str(value))


@pytest.mark.parametrize(
    "text", ["", "a", '"\\/\b\f\n\r\t', "é✔\u202e", "\ud800", "\0", "%x = exp // @f {", "\U0001f600"]
)
def test_strings_read_back_exactly(text: str) -> None:
    module = parse(
        body(
            f"check %ok {{code = {attribute_text(text)}, message = {attribute_text(text)}}}",
            inputs="%ok: bool[]",
        )
    )
    assert module.functions["f"].ops[0].attributes["message"] == text
    lirtest.check_round_trip(module)


# --- limits -------------------------------------------------------------------------------------------------------


def test_limits_are_reached_and_not_passed() -> None:
    longest = "x" * 256
    parse(f"func @{longest}(%{longest}: f32[{longest}]) -> () {{\n  return\n}}")
    for text in (
        f"func @{longest}x() -> () {{\n return\n}}",
        body(f"%{longest}x = exp %x"),
        body(f"%a = {longest}x %x"),
    ):
        assert "LIR0013" in codes(text)
    parse(body(inputs=f"%x: f32[{', '.join(['1'] * 32)}]"))
    assert codes(body(inputs=f"%x: f32[{', '.join(['1'] * 33)}]")) == ["LIR0013"]
    parse(body(inputs="%x: f32[9223372036854775807]"))
    assert codes(body(inputs="%x: f32[9223372036854775808]")) == ["LIR0012"]
    assert codes(body(inputs="%x: f32[3037000500, 3037000500]")) == ["LIR0013"]
    assert codes(body(inputs="%x: f32[3037000500*B, 3037000500]")) == ["LIR0013"]
    assert codes(body(inputs=f"%x: f32[{'*'.join(['B'] * 1025)}]")) == ["LIR0013"]


def test_an_inferred_type_that_is_too_large_is_refused() -> None:
    assert codes(body("%a = broadcast %x {dims = [0], shape = [B, 4611686018427387904, 2]}")) == ["LIR0013"]


@pytest.mark.parametrize("digits", [20, 4299, 4301, 100_000])
def test_numbers_of_thousands_of_digits_are_refused(digits: int) -> None:
    number = "9" * digits
    for text in (
        body(f"%a = mul %x, {number}"),
        body(f"%a = mul %x, -{number}.5e{number}"),
        body(inputs=f"%x: f32[{number}]"),
    ):
        assert set(codes(text)) <= {"LIR0012", "LIR0013"}


def test_reading_stops_after_a_hundred_errors() -> None:
    found = codes(body(*["%a = exq %x" for _ in range(1000)]))
    assert found[-1] == "LIR0016"
    assert len(found) == 101


def test_a_file_of_another_kind_is_told_from_a_program_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("import lossc\n" + "loss = lossc.Graph().mean()\n" * 50)
    with pytest.raises(LirError) as caught:
        load(path)
    *_, last = caught.value.diagnostics
    assert (len(caught.value.diagnostics), last.code) == (6, "LIR0016")
    assert "train.py does not look like LIR: stopped after 5 errors" in last.message
    assert last.notes == ("a program begins with func @name(...) -> (...) {",
                          "a graph that is built in Python is run by python")  # fmt: skip
    assert len(codes("$\n" * 100_000)) == 6
    assert len(codes(body() + "$\n" * 100_000)) == 101


def test_a_text_of_more_than_16_megabytes_is_refused_unread() -> None:
    assert codes("é" * (8 * 2**20 + 1)) == ["LIR0013"]


@pytest.mark.parametrize("bracket", ["(", "[", "{", "{a = [", "call @f(", '"', "%", "-", "*", "%x,", "//"])
def test_a_hundred_thousand_of_one_thing_is_refused_and_not_recursed_into(bracket: str) -> None:
    text = IDENTITY.replace("return %x", "%y = exp " + bracket * 100_000 + "\n  return %x")
    assert set(codes(text)) <= {"LIR0010", "LIR0011", "LIR0013", "LIR0025"}


# --- names --------------------------------------------------------------------------------------------------------

HOSTILE_NAMES = [
    "*/", "/*", "x\\\ny", "%:", "??/", "x\u202ey", "#pragma", "x y", "x;y", "x-y", "x'y", 'x"y', "x(y", "1x", "", "é",
    "x\0y", "$x", "x,y", "x}y", "{x", "\u2028", "x\ty", "x=y", "x@y", "x%y", "x//y", "x\\", "`x`", "x" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_hostile_names_are_refused_wherever_they_stand(name: str) -> None:
    for text in (
        f"func @f(%{name}: f32[B]) -> () {{\n return\n}}", f"func @{name}() -> () {{\n return\n}}",
        body(f"%{name} = exp %x"), body(f"%a = exp %{name}"), body(f"%a = {name}op %x"),
        body(inputs=f"%x: f32[{name}y]"), body(f"%a = call @{name}(%x)"),
    ):  # fmt: skip
        if text.count(name) > 1 or not name:
            continue
        read = lirtest.read_or_refuse(text)
        # What is read after all, such as `%x // y`, is another text than the name says.
        assert isinstance(read, LirError) or name not in print_module(read)


RESERVED_WORDS = [
    "__kernel",
    "kernel_",
    "float",
    "int",
    "while",
    "barrier",
    "get_global_id",
    "main",
    "printf",
    "EOF",
]


@pytest.mark.parametrize("name", RESERVED_WORDS)
def test_words_of_other_languages_are_names_like_any_other(name: str) -> None:
    module = parse(f"func @{name}(%{name}: f32[{name}]) -> (%{name}: f32[{name}]) {{\n  return %{name}\n}}")
    assert module.entry.name == name
    lirtest.check_round_trip(module)


@pytest.mark.parametrize("word", KEYWORDS)
def test_keywords_are_names_of_values_and_functions_but_not_of_operations_and_dimensions(word: str) -> None:
    parse(f"func @{word}(%{word}: f32[B]) -> () {{\n  return\n}}")
    assert codes(body(f"%a = {word} %x"))[0] == "LIR0010"
    assert codes(body(inputs=f"%x: f32[{word}]"))[0] == "LIR0010"


def test_no_operation_or_attribute_is_called_like_a_keyword() -> None:
    from lossc.ir.composites import COMPOSITES
    from lossc.ir.ops import PRIMITIVES

    words = [*PRIMITIVES, *COMPOSITES]
    for definition in [*PRIMITIVES.values(), *COMPOSITES.values()]:
        words += [operand.rstrip("?.") for operand in definition.operands]
        words += definition.attributes
    assert not set(words) & {*KEYWORDS, "call", "launch"}


# --- sizes --------------------------------------------------------------------------------------------------------


def test_a_chain_of_many_operations_is_read_printed_and_verified() -> None:
    count = 20_000
    chain = [f"%a{number + 1} = exp %a{number}" for number in range(count)]
    module = parse(body(*chain, inputs="%a0: f32[B]"))
    assert len(module.entry.ops) == count
    assert print_module(module).count("\n") == count + 5


def test_doubling_values_and_calls_stay_small() -> None:
    doubling = [f"%a{number + 1} = mul %a{number}, %a{number}" for number in range(2000)]
    assert len(print_module(parse(body(*doubling, inputs="%a0: f32[B]")))) < 100_000
    functions = [
        f"func @f{n}(%x: f32[B]) -> (f32[B]) {{\n  %y = call @f{n + 1}(%x)\n"
        f"  %z = call @f{n + 1}(%y)\n  return %z\n}}\n"
        for n in range(3000)
    ]
    assert codes(
        "".join(functions) + IDENTITY.replace("@f", "@f3000").replace("return %x", "%y = exp %x\n return %y")
    ) == ["LIR0013"]


def test_a_long_chain_of_calls_is_not_recursed_into() -> None:
    functions = [
        f"func @f{n}(%x: f32[B]) -> (f32[B]) {{\n  %y = call @f{n + 1}(%x)\n  return %y\n}}\n" for n in range(3000)
    ]
    module = parse("".join(functions) + IDENTITY.replace("@f", "@f3000"))
    assert module.entry.name == "f0"


def test_a_long_line_is_placed_without_its_excerpt() -> None:
    with pytest.raises(LosscError) as caught:
        parse(body("%a = exp " + ", ".join(["%x"] * 10_000) + ", $"))
    assert len(str(caught.value)) < 500
