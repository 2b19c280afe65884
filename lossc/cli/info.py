"""`lossc devices` and `lossc ops`: what there is to run on, and what programs are made of."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from lossc.ir.attributes import attribute_text
from lossc.ir.composites import COMPOSITES, Composite, definition_of
from lossc.ir.diagnostics import DeviceError, LirError
from lossc.ir.ops import PRIMITIVES, REQUIRED, Attribute, OpDef
from lossc.ir.target import MIB, PRESETS
from lossc.runtime.device import DEVICE_VARIABLE, select
from lossc.runtime.device import devices as found_devices

from . import options
from .console import note, say, say_json, say_table


def devices(json: options.Json = False) -> None:
    """List the OpenCL devices, the default one first.

    Their numbers and parts of their names work as --device and as LOSSC_DEVICE.
    """
    found = found_devices()
    if json:
        say_json([{"number": n, **asdict(d.info), "driver_version": d.driver_version} for n, d in enumerate(found)])
    if json and found:
        return
    try:
        default = select()
    except DeviceError as error:
        if not found:
            raise
        default = None
        note(f"{error.diagnostics[0].message.partition(';')[0]}: unset {DEVICE_VARIABLE}, or set it to one of these")
    columns = ("", "device", "platform", "kind", "units", "vector", "memory MiB", "local KiB", "f64", "f16", "driver")
    rows = [
        (f"{number}{'*' if device is default else ''}", d.name, d.platform, d.kind, str(d.compute_units),
         str(d.vector_width), str(d.global_memory // MIB), str(d.local_memory // 1024), _yes(d.has_f64),
         _yes(d.has_f16), device.driver_version)
        for number, device in enumerate(found)
        for d in [device.info]
    ]  # fmt: skip
    say_table(columns, rows)
    presets = ", ".join(f"{name.replace('_', '-')} ({info.name})" for name, info in PRESETS.items())
    star = "* is what runs without --device; " if default is not None else ""
    note(f"{star}compile also takes the presets {presets}")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def ops(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One operation, in full.", show_default=False)] = "",
    json: options.Json = False,
) -> None:
    """List the operations of LIR, or describe one."""
    if name:
        try:
            definition = definition_of(name)
        except LirError as error:
            raise LirError([replace(d, notes=(*d.notes, "`lossc ops` lists them all")) for d in error.diagnostics]) \
                from None  # fmt: skip
        if json:
            say_json(_facts(definition))
        else:
            _describe(definition)
        return
    known = sorted([*PRIMITIVES.values(), *COMPOSITES.values()], key=lambda d: (_ORDER.index(d.kind), d.name))
    if json:
        say_json([_facts(definition) for definition in known])
        return
    say_table(("operation", "kind", "help"), [(_signature(d), d.kind, _short(d.help)) for d in known])


_ORDER = ("loss", "layer", "pointwise", "reduce", "shape", "index", "matmul", "constant", "effect", "meta")
_LONGEST_HELP = 90


def _attributes(definition: OpDef | Composite) -> Mapping[str, Attribute]:
    """Those that people write: `operands` is written as keywords."""
    return {name: attribute for name, attribute in definition.attributes.items() if name != "operands"}


def _signature(definition: OpDef | Composite) -> str:
    operands = ", ".join(f"%{operand}" for operand in definition.operands)
    attributes = ", ".join(_attributes(definition))
    return f"{definition.name} {operands} {{{attributes}}}" if attributes else f"{definition.name} {operands}".rstrip()


def _short(text: str) -> str:
    if len(text) <= _LONGEST_HELP:
        return text
    return f"{text[:_LONGEST_HELP].rsplit(' ', 1)[0]} ..."


def _facts(definition: OpDef | Composite) -> dict[str, Any]:
    return {
        "name": definition.name,
        "kind": definition.kind,
        "primitive": isinstance(definition, OpDef),
        "operands": [
            {"name": operand.rstrip("?."), "optional": operand.endswith("?"), "repeated": operand.endswith("...")}
            for operand in definition.operands
        ],
        "attributes": [
            {"name": name, "kind": attribute.kind, "required": attribute.default is REQUIRED,
             **({} if attribute.default is REQUIRED else {"default": attribute.default})}
            for name, attribute in _attributes(definition).items()
        ],
        "help": definition.help,
    }  # fmt: skip


def _describe(definition: OpDef | Composite) -> None:
    say(_signature(definition))
    say("")
    # A loss has its formula, shapes, rules, gradient, kink and source there.
    say(definition.help if isinstance(definition, OpDef) else inspect.getdoc(definition.function) or definition.help)
    say("")
    say(f"kind: {definition.kind}, {'a primitive' if isinstance(definition, OpDef) else 'made of primitives'}")
    marks = [(operand.rstrip("?."), "optional" if operand.endswith("?") else "any number" if operand.endswith("...")
              else "") for operand in definition.operands]  # fmt: skip
    if marks:
        say("operands: " + ", ".join(f"%{name} ({mark})" if mark else f"%{name}" for name, mark in marks))
    attributes = _attributes(definition)
    if attributes:
        say("attributes:")
        for name, attribute in attributes.items():
            say(f"  {name}: {attribute.kind}, {_default(attribute)}")


def _default(attribute: Attribute) -> str:
    if attribute.default is REQUIRED:
        return "required"
    return "none unless given" if attribute.default is None else f"default {attribute_text(attribute.default)}"
