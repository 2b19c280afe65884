"""Writes docs/errors.md: every code of a diagnostic, from the table in ir/codes.py. `make docs` runs it."""

from __future__ import annotations

from pathlib import Path

from lossc.ir.codes import CODES

PAGE = Path(__file__).with_name("errors.md")

HEAD = """\
# Codes of errors and warnings

<!-- written by docs/errors.py: make docs -->

A diagnostic has its place, `file:line:column`, a code, what was expected and found, and below it what to try. A code
stays what it is for ever, so scripts may look for it: in the text of a message, and as `diagnostic.code` of the
`diagnostics` of a `lossc.LosscError`.
"""


def page() -> str:
    """The text of the page."""
    parts = [HEAD]
    groups = (("What is wrong as a whole", "LIR0001", "LIR0010"), ("In a text", "LIR0010", "LIR0100"),
              ("While a program runs", "LIR0100", "LIR0200"), ("Warnings", "LIR0200", "LIR1000"))  # fmt: skip
    for title, first, end in groups:
        parts.append(f"## {title}\n\n| code | what it is |\n|---|---|")
        rows = [f"| `{code}` | **{title}.** {text} |" for code, (title, text) in CODES.items() if first <= code < end]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts).replace("|---|---|\n\n", "|---|---|\n")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
