"""LaTeX: a table of ours beside published rows -> a tabular with rules of the package booktabs."""

from pathlib import Path

import pandas as pd

from geneface_kit.evaluation.rows import TITLES, beside_published, header, kinds, notes, store_text

__all__ = ["to_latex", "write_latex"]

SIGNS = {
    "—": "---",
    "±": r"$\pm$",
    "²": r"\textsuperscript{2}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
"""Signs that pdfLaTeX does not set by itself."""
KEYS = 6
"""Columns of text before the first metric."""


def to_latex(ours: pd.DataFrame, name: str) -> str:
    """The wide table as a table environment, with definitions and reasons under it.

    Needs \\usepackage{booktabs,graphicx}; a cell that was not measured says so in words.
    """
    wide = beside_published(ours, name)
    columns = "l" * KEYS + "r" * (wide.shape[1] - KEYS)
    shown = wide.rename(columns=header).style.hide(axis="index")
    shown = shown.format(escape="latex").format_index(escape="latex", axis=1)
    tabular = shown.to_latex(hrules=True, column_format=columns).strip()
    ruled = _rule_between(tabular, int((wide["origin"] == "ours").sum()))
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(f'{TITLES[name]} ({kinds(ours)})')}}}",
        r"\resizebox{\textwidth}{!}{%",
        ruled + "}",
        r"\par\footnotesize",
        *[rf"{_escaped(note)}\par" for note in notes(ours)],
        r"\end{table}",
    ]
    return _signs("\n".join(lines)) + "\n"


def write_latex(path: Path, ours: pd.DataFrame, name: str) -> None:
    """The table as `to_latex` gives it."""
    store_text(path, to_latex(ours, name))


def _rule_between(tabular: str, n_ours: int) -> str:
    """A rule between our rows and the published ones, if there are any."""
    lines = tabular.splitlines()
    end = lines.index(r"\midrule") + 1 + n_ours
    if lines[end] != r"\bottomrule":
        lines.insert(end, r"\midrule")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"}
    return "".join(special.get(letter, letter) for letter in text)


def _signs(text: str) -> str:
    for sign, written in SIGNS.items():
        text = text.replace(sign, written)
    return text
