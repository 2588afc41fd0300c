# SPDX-License-Identifier: Apache-2.0
"""A table in LaTeX."""

import re
from collections.abc import Sequence

# Stars and brackets are arguments of the end of a row when they follow it.
_WORDS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    **{sign: f"${sign}$" for sign in "<>|"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "‖": r"$\|$",
    "−": "$-$",
    "∞": r"$\infty$",
    "–": "--",
    "’": "'",
}
_SIGNS = {"−": "-", "±": r"\pm ", "×": r"\times ", "∞": r"\infty ", ",": "{,}"}
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_NUMBER = re.compile(r"[(−∞\d][()−∞\d.,±× ⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*")


def escape(text: str) -> str:
    """Returns words as LaTeX text, in one line.

    Args:
        text: Any words.
    """
    return "".join(_WORDS.get(sign, sign) for sign in " ".join(text.split()))


def typeset(number: str) -> str:
    r"""Returns what `numbers` has formatted as LaTeX mathematics, other words as text.

    Args:
        number: As `format_estimate` writes it.

    Example:
        >>> typeset("(1.20 ± 0.30) × 10⁻⁷")
        '$(1.20 \\pm 0.30) \\times 10^{-7}$'
    """
    if not _NUMBER.fullmatch(number):
        return escape(number)
    text = "".join(_SIGNS.get(sign, sign) for sign in number)
    text = re.sub(
        r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: f"^{{{found[0].translate(_RAISED)}}}", text
    )
    return f"${' '.join(text.split())}$"


def tabulate(
    remark: str,
    head: Sequence[str],
    blocks: Sequence[tuple[str, Sequence[Sequence[str]]]],
) -> str:
    """Returns a table in the style of booktabs, to be put in a document by `input`.

    Args:
        remark: One line on what the table holds, for who opens the file.
        head: Headings of the columns behind the first, in LaTeX.
        blocks: Heading in LaTeX, or "", and rows of each block; a row is its name and
            a cell for each heading, in LaTeX.
    """
    lines = [
        rf"% {remark} Made by tf_decomp; needs \usepackage{{booktabs}}.",
        rf"\begin{{tabular}}{{l{'r' * len(head)}}}",
        r"\toprule",
        _row(["", *head]),
    ]
    for title, rows in blocks:
        lines.append(r"\midrule")
        if title:
            lines.append(
                rf"\multicolumn{{{len(head) + 1}}}{{l}}{{\emph{{{title}}}}} \\"
            )
        lines += map(_row, rows)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
