"""Programs that are ready to run: found on disk where the same module was compiled before, else compiled.

In: a module, a device, the strategy that is asked for, or what was measured to be best. Out: `Ready`, all that running
takes. What is found needs no pass, no source and no module of the compiler. And LIR text that was read before, as a
module, without a parser.

The key of an entry is the module as text with its places in the user's files, everything known of the device, and the
compiler's own files as they are. Entries are what Python pickles: they lie beside the binaries of their kernels, which
are code as well, in a folder that only the user writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

import lossc.ir
from lossc.ir.frozen import frozen
from lossc.ir.function import Module
from lossc.ir.printer import print_module
from lossc.ir.program import Entry, Launch, Program, Variant
from lossc.runtime.cache import Cache, cache_enabled, cache_folder, cache_key
from lossc.runtime.device import Device

if TYPE_CHECKING:
    from lossc.compiler import Compiled
    from lossc.compiler.decisions import Decision
    from lossc.ir.target import DeviceInfo

Kind = TypeVar("Kind")

FIRST_LOSSC = 1_767_225_600
"""1 January 2026."""


@frozen
class Asked:
    """What a program is made of: a module, all that the compiler is told of the device, the strategy that is asked
    for, and what was measured to be best for some fused kernels."""

    module: Module
    info: DeviceInfo
    strategy: str | None = None
    decisions: Mapping[str, Decision] = field(default_factory=dict)

    def compiled(self) -> Compiled:
        from lossc.compiler import compile_module

        found = compile_module(self.module, self.info, self.strategy)
        return found.decided(self.decisions) if self.decisions else found

    def in_words(self) -> list[str]:
        """All of it that the program depends on."""
        chosen = [f"{name} {decision.candidate}" for name, decision in sorted(self.decisions.items())]
        return [_text(self.module), repr(self.info), str(self.strategy or ""), *chosen]


class Stored(NamedTuple):
    """What an entry on disk holds: the fields of `Ready` by these names."""

    program: Program
    sources: dict[str, str]
    options: str
    overwrites: frozenset[tuple[str, str]]


@frozen
class Ready:
    """A program with the OpenCL C of its kernels by name, and the options to build it with. `overwrites` are pairs of
    an input and an output that may share memory without a ragged end. `compiled` is there where it was compiled just
    now; a program that was found has an `Entry` for each of its kernels. `asked` is what it was made of."""

    program: Program
    sources: dict[str, str]
    options: str
    overwrites: frozenset[tuple[str, str]]
    asked: Asked
    compiled: Compiled | None = None

    @cached_property
    def levels(self) -> Compiled:
        """The program at every level below its module; one that was found is compiled for this."""
        return self.compiled or self.asked.compiled()

    @staticmethod
    def of(compiled: Compiled, asked: Asked) -> Ready:
        """What was compiled just now."""
        from lossc.compiler.overwriting import overwrites

        shared = overwrites(compiled.outlined)
        return Ready(compiled.program, dict(compiled.sources()), compiled.build_options, shared, asked, compiled)


def ready_program(
    module: Module, device: Device, strategy: str | None = None, info: DeviceInfo | None = None
) -> Ready:  # fmt: skip
    """The program of the entry of `module` on a device; `info` is what the compiler is told of it, if not all."""
    asked = Asked(module, info or device.info, strategy)
    return found_or_made(asked, asked.compiled)


def found_or_made(asked: Asked, compiled: Callable[[], Compiled]) -> Ready:
    """The program that is asked for: from disk, or else what `compiled` gives, which is there from now on."""
    own = own_files()
    if not cache_enabled() or not own:
        return Ready.of(compiled(), asked)
    key = cache_key([own, *asked.in_words()])
    entries = Cache(cache_folder("compiled"))
    stored = _unpickled(entries.get(key), Stored)
    if stored is not None:
        return Ready(*stored, asked)
    made = Ready.of(compiled(), asked)
    stored = Stored(as_run(made.program), made.sources, made.options, made.overwrites)
    entries.put(key, pickle.dumps(stored, protocol=5))
    return made


def module_of_text(text: str, name: str, parse: Callable[[], Module]) -> Module:
    """The module that `parse` makes of a text; `name` is what messages call it."""
    own = own_files()
    if not cache_enabled() or not own or "import" in text:
        # What a text imports is more than the text.
        return parse()
    key = cache_key([own, name, text])
    entries = Cache(cache_folder("modules"))
    found = _unpickled(entries.get(key), Module)
    if found is None:
        found = parse()
        entries.put(key, pickle.dumps(found, protocol=5))
    return found


def _unpickled(entry: bytes | None, kind: type[Kind]) -> Kind | None:
    if entry is not None:
        # What is no such thing is made again, whatever it is.
        with contextlib.suppress(Exception):
            found = pickle.loads(entry)
            if isinstance(found, kind):
                return found
    return None


def _text(module: Module) -> str:
    """The module, and where its operations stand: errors of a run name these places."""
    spans = {op.span: None for function in module.functions.values() for op in function.ops if op.span is not None}
    sources = dict.fromkeys((span.source.name, span.source.text) for span in spans)
    places = [f"{span.source.name}:{span.start}:{span.end}" for span in spans]
    return "\n".join([print_module(module), *places, *(text for _, text in sources)])


@cache
def own_files() -> str:
    """The compiler's own files as they are, and what pickles: another compiler gives other programs. Empty where there
    are no files to look at."""
    places = [(folder, "") for folder in lossc.ir.__path__]
    places += [(os.path.join(folder, "..", "compiler"), "compiler/") for folder, _ in places]
    found = [line for folder, below in places for line in _files_in(folder, below)]
    versions = [_state("ready", __file__, os.stat(__file__)), f"python {sys.version}", f"numpy {np.__version__}"]
    return "\n".join([*versions, *sorted(found)]) if found else ""


def _files_in(folder: str, below: str) -> Iterator[str]:
    """The state of each source file in a folder and in those below."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".lark")):
                yield _state(f"{below}{entry.name}", entry.path, entry.stat())
            elif entry.name != "__pycache__" and entry.is_dir():
                yield from _files_in(entry.path, f"{below}{entry.name}/")


def _state(name: str, path: str, status: os.stat_result) -> str:
    """What changes when a file does. Installers that fix the time of writing cannot fix that of the last change of any
    kind, but images of file systems may have neither: a time before there was any lossc says nothing. All contents each
    time would take a warm start 5 ms more."""
    contents = ""
    if status.st_mtime < FIRST_LOSSC:
        with open(path, "rb") as file:
            contents = hashlib.sha256(file.read()).hexdigest()
    return f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {contents}"


def as_run(program: Program) -> Program:
    """Without what kernels consist of: their sources say it, and are built."""

    def plain(launch: Launch) -> Launch:
        kernel = launch.kernel
        return replace(launch, entry=Entry(kernel.name, kernel.scalars, kernel.grouping))

    def variant(one: Variant) -> Variant:
        return replace(one, launches=tuple(map(plain, one.launches)))

    steps = tuple(replace(step, variants=tuple(map(variant, step.variants))) for step in program.steps)
    beside = tuple(replace(several, variants=tuple(map(variant, several.variants))) for several in program.beside)
    return replace(program, steps=steps, together=tuple(map(variant, program.together)), beside=beside)
