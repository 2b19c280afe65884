"""The codes of diagnostics, each with a title and an explanation. The documentation of errors is made from
this.

A code stays what it is for ever: a new kind of mistake gets a new one. 0001-0009 are classes of error,
0010-0019 text, 0020-0029 names and operations, 0030-0039 types, 0040-0059 functions, 0100-0199 what only
shows while a program runs, 0200-0299 warnings.
"""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, tuple[str, str]] = {
    "LIR0001": (
        "A mistake without a code of its own",
        "A rule of one operation is broken (a `label_smoothing` above 1, a `reduction` that does not exist), or "
        "something around a program is missing or does not fit: an input, an option, a file that cannot be written. "
        "The message names the rule and what was found.",
    ),
    "LIR0002": (
        "A limitation of lossc",
        "The program is right, but lossc does not do this. The message names the way round.",
    ),
    "LIR0003": (
        "A bug in lossc",
        "An invariant inside lossc does not hold. The program is not to blame: please report it with the program.",
    ),
    "LIR0004": (
        "Trouble with a device",
        "There is no OpenCL device, or the device or its driver refused or failed.",
    ),
    "LIR0010": (
        "Syntax error",
        "A line does not have the form of a statement, an import, the head of a function or a closing brace. A line "
        "ends at its end unless a bracket is open, it ends in a comma, `=`, `:`, `*` or `->`, or the next one "
        "begins with `{`, `:`, `,`, `=` or `->`. The message says what could have stood at the marked place.",
    ),
    "LIR0011": (
        "Not part of the language",
        "A character that LIR does not use outside of strings and comments, a string without its closing quote, or "
        "an escape in a string other than those of JSON.",
    ),
    "LIR0012": (
        "A number out of range",
        "Integers are 64-bit and signed, floats are float64. A float beyond that range is written `inf`.",
    ),
    "LIR0013": (
        "Too large",
        "A text has at most 16 MB of UTF-8, a name or number 256 characters, a type 32 axes, a dimension 1,024 "
        "factors. A size and the number of elements of a tensor are at most 2^63 - 1. A module has at most 1,000,000 "
        "operations, also after its calls are inlined. These limits keep hostile files harmless.",
    ),
    "LIR0014": (
        "Unknown version of the language",
        "The first line may say `// lir 1`. A later version needs a later lossc.",
    ),
    "LIR0015": (
        "A file that cannot be read",
        "`import \"file.lir\"` names a file relative to the one it stands in. The file does not exist, is not UTF-8 "
        "text, does not end in `.lir`, is an absolute path, or imports itself through others. The same holds for the "
        "file that is loaded, except that its path may be any."
    ),
    "LIR0016": (
        "Too many errors",
        "Reading stopped after 100 errors, or after 5 before any function: then the file is probably no program. Those "
        "that are listed come first in the text.",
    ),
    "LIR0020": (
        "A value that is not defined",
        "A value is used before the statement that defines it, or nothing defines it. Values are inputs of their "
        "function or results of earlier statements in it.",
    ),
    "LIR0021": (
        "A value that is defined twice",
        "Every name on the left of `=` and every input of a function is defined once: LIR has no assignment.",
    ),
    "LIR0022": (
        "An unknown operation",
        "`lossc ops` lists the operations. A function is called as `call @name(...)`.",
    ),
    "LIR0023": (
        "An unknown, missing or repeated attribute",
        "An operation takes the attributes of its definition, each at most once; those without a default must be "
        "given.",
    ),
    "LIR0024": (
        "An attribute of the wrong kind",
        "Strings stand in quotes, element types do not, lists stand in square brackets.",
    ),
    "LIR0025": (
        "The wrong operands",
        "An operation got too few or too many operands, or a keyword operand that it does not have, or one twice. "
        "`?` marks an optional operand and `...` any number.",
    ),
    "LIR0026": (
        "The wrong number of results",
        "There is one name on the left of `=` for each result of the operation.",
    ),
    "LIR0027": (
        "A literal without a type",
        "A number that stands as an operand becomes a `constant` with the shape of the first tensor operand of the "
        "same operation and the element type of the first one that is not bool; `true` and `false` become bool. "
        "An operand of a call takes the type of the function's input instead. Here is no tensor to take it from.",
    ),
    "LIR0030": (
        "Shapes do not fit",
        "The IR does not broadcast: shapes match exactly, and `broadcast` repeats where that is meant.",
    ),
    "LIR0031": (
        "Element types do not fit",
        "The IR does not promote: element types match exactly, and `cast` converts.",
    ),
    "LIR0032": (
        "A written type differs from the inferred one",
        "Types after `:` are optional; where they are written they must be the types that follow from the operands.",
    ),
    "LIR0033": (
        "An axis out of range",
        "Axes count from 0, or from the end, -1 being the last; each is named once.",
    ),
    "LIR0034": (
        "Not a type",
        "A type is an element type and a shape, `f32[B, 10]`; a dimension is a size, a name, or a product of them.",
    ),
    "LIR0035": (
        "A constant that does not fit its element type",
        "Integers have no fraction and lie in the range of their type; a bool is true, false, 1 or 0.",
    ),
    "LIR0040": (
        "A function that is not defined",
        "A call, a launch, a gradient or the entry names a function that neither this text nor an import defines.",
    ),
    "LIR0041": (
        "A function that is defined twice",
        "A name stands for one function in a text and everything it imports.",
    ),
    "LIR0042": (
        "Recursion",
        "Calls are inlined, so no function may call itself, directly or through others.",
    ),
    "LIR0043": (
        "A call of a kernel, or a launch of a function",
        "`call` takes functions, `launch` takes kernels, and a kernel launches and repeats nothing.",
    ),
    "LIR0044": (
        "A function that does not end in return",
        "The last statement of every function, and only that, is `return`.",
    ),
    "LIR0045": (
        "The wrong results",
        "What `return` gives does not have the number and types that the head of the function promises.",
    ),
    "LIR0046": (
        "A gradient function that does not fit",
        "`gradient @g` on a function names a function that takes the same inputs and then one gradient for each "
        "float result, and returns one gradient for each float input.",
    ),
    "LIR0047": (
        "Operands that do not fit the inputs of a function",
        "At a call the dimension names of the function's inputs stand for the sizes of the operands: one name, one "
        "size, in all of them.",
    ),
    "LIR0048": (
        "The names of inputs and results",
        "Inputs are bound by their names, so the names are distinct and consist of letters, digits, `_` and `.`; "
        "the same holds for the names of results.",
    ),
    "LIR0049": (
        "A dimension that no input gives",
        "The sizes in a function that is called come from its operands: every dimension name in it must stand in its "
        "inputs, alone or as the one unknown factor of a product.",
    ),
    "LIR0100": (
        "A check failed",
        "The data broke a rule of the program: a label out of range, a probability above 1. The message names the "
        "first position and the value there. No result is handed out.",
    ),
    "LIR0200": (
        "Probabilities where logits are meant",
        "The loss takes logits and has a softmax or sigmoid inside; what it is given went through one already. A "
        "warning: the program runs, but learns slowly, since its gradients are those of a flattened function.",
    ),
    "LIR0201": (
        "Binary cross-entropy of probabilities that lossc or another loss computes better",
        "`bce_loss` of a sigmoid is rewritten to `bce_with_logits_loss`, which is exact far from 0; `bce_loss` of a "
        "softmax treats classes that exclude each other as separate questions. A warning.",
    ),
    "LIR0202": (
        "Not the logarithms of probabilities, or not the probabilities, that the loss takes",
        "`kl_div_loss` and `nll_loss` take log-probabilities, as log_softmax gives them; the target of `kl_div_loss` "
        "is probabilities, or with `log_target` their logarithms. A warning.",
    ),
    "LIR0203": (
        "A class that is ignored",
        "`ignore_index` is the number of a class: rows with that label count for nothing, in the loss, its mean and "
        "its gradient. A warning, since that is sometimes meant.",
    ),
    "LIR0204": (
        "Smoothing of a target that is soft already",
        "`label_smoothing` mixes the target with the uniform distribution; this target comes from a softmax or sigmoid "
        "and is no distribution of zeros and a one. A warning.",
    ),
    "LIR0205": (
        "A strategy that applies nowhere",
        "`--strategy`, or `strategy=` in Python, is taken for every kernel that it applies to, and here it applies to "
        "none: all kernels run by the strategies that the cost model chooses. A warning, with the reasons.",
    ),
}  # fmt: skip
