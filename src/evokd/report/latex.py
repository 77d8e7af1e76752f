"""The study's main tables for LaTeX; they need only the package booktabs."""

from __future__ import annotations

from evokd.recipe.metrics import describe
from evokd.report.formatting import arrow
from evokd.report.results import BETTER, WORSE, Results, Table, TableCell
from evokd.report.tables import legend, signatures

ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    BETTER: r"$\dagger$",
    WORSE: r"$\ddagger$",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "→": r"$\rightarrow$",
}
SUPERSCRIPTS = {BETTER: r"$^{\dagger}$", WORSE: r"$^{\ddagger}$", "": ""}


def as_latex(results: Results) -> str:
    """All test sets as LaTeX tables, in plain ASCII."""
    return "\n\n".join(_latex_table(results, table) for table in results.tables) + "\n"


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _latex_table(results: Results, table: Table) -> str:
    width = len(table.columns) // len(table.metrics)
    labels = [latex_escape(describe(metric).label) for metric in table.metrics]
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{label}}}" for label in labels]
    starts = range(2, 2 + len(table.columns), width)
    rules = [rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts]
    directions = [latex_escape(arrow(direction)) for _, direction in table.columns]
    body = []
    for row in table.rows:
        cells = [_latex_cell(cell) for cell in row.cells.values()]
        gap = "--" if row.gap is None else rf"${100 * row.gap:.0f}$\,\%"
        body.append(" & ".join([latex_escape(row.system), *cells, gap]) + r" \\")
        if row.system == "teacher":
            body.append(r"\midrule")
    notes = [*legend(results, table), *signatures(results, table.test_set)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}[t]",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) + 1)}}}",
            r"\toprule",
            " & ".join(["", *groups, ""]) + r" \\",
            " ".join(rules),
            " & ".join(["system", *directions, "gap closed"]) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{Test set {latex_escape(table.test_set)}. The best student is bold.}}",
            r"\begin{flushleft}\footnotesize",
            "\\\\\n".join(map(latex_escape, notes)),
            r"\end{flushleft}",
            r"\end{table}",
        ]
    )


def _latex_cell(cell: TableCell) -> str:
    if cell.mean is None:
        return "--"
    text = rf"\textbf{{{cell.printed}}}" if cell.best else cell.printed
    return f"{text} {latex_escape(cell.spread)}".rstrip() + SUPERSCRIPTS[cell.mark]
