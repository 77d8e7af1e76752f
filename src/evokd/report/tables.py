"""The study's numbers as tables: for the terminal, for Markdown and for LaTeX.

Every function reads the results dict (`results.json`) and tolerates missing parts: a cell without
a number is a dash. Rows come teacher first, then the student that had no teacher (sft), then the
other methods in the recipe's order.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tabulate import tabulate

from evokd.recipe.metrics import describe
from evokd.report.results import (
    BETTER,
    WORSE,
    Cell,
    Column,
    Results,
    Row,
    columns,
    focus_system,
    main_table,
    names_of_test_sets,
    overall,
    plain_student,
)

GAP = ("gap", "")
DASH = "–"
TERMINAL_WIDTH = 100


def signatures(results: Results, test_set: str | None = None) -> list[str]:
    """What makes the scores reproducible: "BLEU en-de: nrefs:1|case:mixed|…", each once."""
    lines: dict[tuple[str, str], list[str]] = {}
    sources = [(row, "") for row in results.get("scores") or []]
    sources += [(row, " p values") for row in results.get("comparisons") or []]
    for row, suffix in sources:
        if row["metric"] == "bleu_vs_teacher" or test_set not in (None, row["test_set"]):
            continue
        if row.get("signature"):
            label = describe(row["metric"]).label + suffix
            found = lines.setdefault((label, row["signature"]), [])
            if row["direction"] not in found:
                found.append(row["direction"])
    many = {label for label, _ in lines if sum(other == label for other, _ in lines) > 1}
    return [
        f"{label}{' ' + ', '.join(found) if label in many else ''}: {signature}"
        for (label, signature), found in lines.items()
    ]


def legend(results: Results, test_set: str | None = None) -> list[str]:
    """What the marks and the last column mean, as far as they appear."""
    rows = main_table(results, test_set)
    marks = {cell.mark for row in rows for cell in row.cells.values()}
    seeds = len(results.get("seeds") or [])
    everywhere = f", in each of {seeds} seeds" if seeds > 1 else ""
    baseline = results.get("baseline")
    lines = []
    if results.get("comparisons"):
        words = [
            f"{mark} {word} than {baseline}"
            for mark, word in [(BETTER, "better"), (WORSE, "worse")]
            if mark in marks
        ]
        if words:
            lines.append(f"{'; '.join(words)} (paired test, p < 0.05{everywhere})")
        else:
            lines.append(f"no system differs from {baseline} (paired test, p < 0.05{everywhere})")
    if any(row.gap is not None for row in rows):
        student = plain_student(results)
        where = overall(results, test_set or names_of_test_sets(results)[0])
        lines.append(f"gap closed: (system − {student}) / (teacher − {student}), in {where} BLEU")
    reasons = dict.fromkeys(row.gap_reason for row in rows if row.gap is None and row.gap_reason)
    lines += [f"gap closed isn't given: {reason}" for reason in reasons]
    if seeds > 1:
        lines.append(f"mean ± standard deviation over {seeds} seeds")
    return lines


def format_cell(cell: Cell) -> str:
    """25.31, 25.31†, 25.31 ± 0.22†, or a dash."""
    if cell.mean is None:
        return DASH
    spread = f" ± {cell.std:.2f}" if cell.std is not None else ""
    return f"{cell.mean:.2f}{spread}{cell.mark}"


def format_gap(row: Row) -> str:
    """62 %; a dash where there is no such share."""
    return DASH if row.gap is None else f"{100 * row.gap:.0f} %".replace("-", "−")


def as_text(results: Results) -> str:
    """All test sets for the terminal, split by metric or direction where 100 columns don't do."""
    blocks = []
    for test_set in names_of_test_sets(results):
        rows = main_table(results, test_set)
        for part in _parts(rows, columns(results, test_set)):
            blocks.append(_plain_grid(rows, part))
        blocks[-1] = "\n".join([blocks[-1], "", *legend(results, test_set)])
        blocks[-1] += "".join("\n" + line for line in signatures(results, test_set))
        first = len(blocks) - len(_parts(rows, columns(results, test_set)))
        blocks[first] = f"Test set {test_set}\n\n{blocks[first]}"
    return "\n\n".join(blocks) if blocks else "Nothing has been scored yet."


def as_markdown(results: Results) -> str:
    """All test sets as Markdown tables; the best student of each column is bold."""
    blocks = []
    for test_set in names_of_test_sets(results):
        wanted = columns(results, test_set)
        head = ["system", *(_heading(column) for column in wanted), "gap closed"]
        lines = [
            "| " + " | ".join(head) + " |",
            "|:--|" + "--:|" * (len(head) - 1),
        ]
        for row in main_table(results, test_set):
            values = [
                f"**{format_cell(row.cells[c])}**"
                if row.cells[c].best
                else format_cell(row.cells[c])
                for c in wanted
            ]
            lines.append("| " + " | ".join([row.system, *values, format_gap(row)]) + " |")
        notes = [*legend(results, test_set), *(f"`{s}`" for s in signatures(results, test_set))]
        blocks.append("\n".join([f"### {test_set}", "", *lines, "", *(f"- {n}" for n in notes)]))
    return "\n\n".join(blocks) + "\n"


def as_latex(results: Results) -> str:
    """All test sets as LaTeX tables; needs only `\\usepackage{booktabs}`. Plain ASCII."""
    return (
        "\n\n".join(_latex_table(results, test_set) for test_set in names_of_test_sets(results))
        + "\n"
    )


def examples_text(results: Results, n: int = 3) -> str:
    """Some translations for the terminal, chosen by a rule that the text states.

    The rule: of the example sentences where the teacher is at least as close to the reference as
    the plain student, those where the distilled student gained most on the plain student. Closeness
    is the share of words in common with the reference, in order. So that the choice deceives
    nobody, the text also says how often the distilled student is closer and how often it isn't.
    """
    student, distilled = plain_student(results), focus_system(results)
    examples = results.get("examples") or []
    if student is None or distilled is None or not examples:
        return ""
    gains = []
    for example in examples:
        translations = example.get("translations") or {}
        if student in translations and distilled in translations:
            near = {
                name: closeness(text, example["reference"]) for name, text in translations.items()
            }
            gain = near[distilled] - near[student]
            gains.append((near.get("teacher", 1.0) >= near[student], gain, example))
    if not gains:
        return ""
    chosen = sorted(gains, key=lambda item: (item[0], item[1]), reverse=True)[:n]
    width = max(len(name) for name in ("reference", "teacher", student, distilled))
    lines = []
    for _, _, example in chosen:
        lines.append(f"{example['test_set']} {example['direction']}, line {example['line']}")
        shown = {"source": example["source"], "reference": example["reference"]}
        for name in ("teacher", student, distilled):
            if name in example["translations"]:
                shown[name] = example["translations"][name]
        lines += [f"  {name:<{width}}  {text}" for name, text in shown.items()] + [""]
    closer = sum(gain > 0 for _, gain, _ in gains)
    further = sum(gain < 0 for _, gain, _ in gains)
    lines.append(
        f"Shown: where {distilled} gained most on {student} (words shared with the reference). "
        f"Of {len(gains)} sentences\n{distilled} is closer to the reference in {closer}, "
        f"further in {further}."
    )
    return "\n".join(lines)


def closeness(text: str, reference: str) -> float:
    """0 to 1: words that two lines have in common in order, over their mean length."""
    return difflib.SequenceMatcher(a=reference.split(), b=text.split(), autojunk=False).ratio()


def _heading(column: Column) -> str:
    return "gap closed" if column == GAP else f"{describe(column[0]).label} {column[1]}"


def _parts(rows: Sequence[Row], wanted: Sequence[Column]) -> list[list[Column]]:
    """Columns in as few tables as fit the terminal: all, else by metric, else by direction."""
    whole = [*wanted, GAP]
    if _width(_plain_grid(rows, whole)) <= TERMINAL_WIDTH:
        return [whole]
    parts: list[list[Column]] = []
    for metric in dict.fromkeys(metric for metric, _ in wanted):
        own = [column for column in wanted if column[0] == metric]
        if metric == "bleu":
            own.append(GAP)
        part: list[Column] = []
        for column in own:
            if part and _width(_plain_grid(rows, [*part, column])) > TERMINAL_WIDTH:
                parts.append(part)
                part = []
            part.append(column)
        parts.append(part)
    return parts


def _plain_grid(rows: Sequence[Row], wanted: Sequence[Column]) -> str:
    """One table; marks have a place of their own so that decimal points stay in line."""
    table = [[row.system, *(_aligned(row, column) for column in wanted)] for row in rows]
    return tabulate(
        table,
        headers=["system", *(_heading(column).replace(" ", "\n", 1) for column in wanted)],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left", *("right" for _ in wanted)],
        preserve_whitespace=True,
    )


def _aligned(row: Row, column: Column) -> str:
    if column == GAP:
        return format_gap(row)
    text = format_cell(row.cells.get(column, Cell()))
    return text if text.endswith((BETTER, WORSE)) else text + " "


def _width(block: str) -> int:
    return max(len(line) for line in block.splitlines())


def _latex_table(results: Results, test_set: str) -> str:
    wanted = columns(results, test_set)
    metrics = list(dict.fromkeys(metric for metric, _ in wanted))
    group = len(wanted) // len(metrics)
    first = [""]
    rules = []
    for i, metric in enumerate(metrics):
        label = latex_escape(describe(metric).label)
        first.append(rf"\multicolumn{{{group}}}{{c}}{{{label}}}")
        rules.append(rf"\cmidrule(lr){{{2 + i * group}-{1 + (i + 1) * group}}}")
    second = ["System", *(_latex_direction(d) for _, d in wanted), r"Gap closed"]
    body = []
    for row in main_table(results, test_set):
        values = [_latex_cell(row.cells[column]) for column in wanted]
        gap = "--" if row.gap is None else rf"${100 * row.gap:.0f}$\,\%"
        body.append(" & ".join([latex_escape(row.system), *values, gap]) + r" \\")
        if row.system == "teacher":
            body.append(r"\midrule")
    notes = [*legend(results, test_set), *signatures(results, test_set)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}[t]",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * (len(wanted) + 1)}}}",
            r"\toprule",
            " & ".join([*first, ""]) + r" \\",
            " ".join(rules),
            " & ".join(second) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{Test set {latex_escape(test_set)}. The best student is bold.}}",
            r"\begin{flushleft}\footnotesize",
            *(latex_escape(note) + r"\\" for note in notes[:-1]),
            *(latex_escape(note) for note in notes[-1:]),
            r"\end{flushleft}",
            r"\end{table}",
        ]
    )


def _latex_cell(cell: Cell) -> str:
    if cell.mean is None:
        return "--"
    text = f"{cell.mean:.2f}"
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if cell.std is not None:
        text += rf" $\pm$ {cell.std:.2f}"
    return text + {BETTER: r"$^{\dagger}$", WORSE: r"$^{\ddagger}$", "": ""}[cell.mark]


def _latex_direction(direction: str) -> str:
    source, dash, target = direction.partition("-")
    if not dash:
        return latex_escape(direction).capitalize()
    return rf"{latex_escape(source)}$\rightarrow${latex_escape(target)}"


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
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


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(LATEX.get(character, character) for character in text)
