"""The study's main tables, for the terminal, for Markdown and for LaTeX.

A cell without a number is a dash. Rows come teacher first, then the student that had no teacher
(sft), then the other methods in the recipe's order.
"""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from tabulate import tabulate

from evokd.recipe.metrics import BLEU_VS_TEACHER, WORTH, describe
from evokd.report.formatting import DASH, decimal
from evokd.report.results import BETTER, WORSE, Column, Results, Table, TableCell, TableRow

GAP = ("bleu", "gap closed")
TERMINAL_WIDTH = 100
MARKS = {BETTER: "better", WORSE: "worse"}


@dataclass(frozen=True)
class Grid:
    """A table of texts: rows in groups that may have titles; the first cell says what a row is of.

    legend: what the columns mean, a line each. directions: title of a group → what it is of.
    """

    headings: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[str]]]
    legend: Sequence[str] = ()
    directions: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.groups.values())


def signatures(results: Results, test_set: str) -> list[str]:
    """What makes the scores reproducible: "BLEU en-de: nrefs:1|case:mixed|…", each once."""
    directions: dict[tuple[str, str], dict[str, None]] = {}
    for groups, suffix in ((results.scores, ""), (results.tests, " p values")):
        for (_, scored_on, metric, direction), records in groups.items():
            if scored_on == test_set and metric != BLEU_VS_TEACHER:
                for record in records:
                    if record.get("signature"):
                        key = (describe(metric).label + suffix, record["signature"])
                        directions.setdefault(key, {})[direction] = None
    labels = [label for label, _ in directions]
    return [
        f"{label}{' ' + ', '.join(own) if labels.count(label) > 1 else ''}: {signature}"
        for (label, signature), own in directions.items()
    ]


def legend(results: Results, table: Table) -> list[str]:
    """What the marks and the last column mean, as far as they appear."""
    marks = {cell.mark for row in table.rows for cell in row.cells.values()}
    seeds, baseline = len(results.seeds), results.baseline
    lines = []
    if results.comparisons:
        words = [f"{mark} {word} than {baseline}" for mark, word in MARKS.items() if mark in marks]
        pooled = results.tests is results.pooled
        test = f"({'randomization' if pooled else 'paired test'}, p < 0.05"
        if seeds > 1:
            tested = {row["seed"] for rows in results.comparisons.values() for row in rows}
            each = f", in each of {len(tested)} seeds" if len(tested) > 1 else ""
            test += f", {seeds} seeds pooled" if pooled else each
        if results.significance.get("correction") == "holm":
            test += ", corrected by Holm for all systems of a column"
        lines.append(f"{'; '.join(words) or f'no system differs from {baseline}'} {test})")
        lines += _power(results, table)
    if table.has_gap:
        student, where = results.plain_student, results.overall(table.test_set)
        lines.append(f"gap closed: (system − {student}) / (teacher − {student}), in {where} BLEU")
    reasons = [row.gap_reason for row in table.rows if row.gap is None and row.gap_reason]
    lines += [f"gap closed isn't given: {reason}" for reason in dict.fromkeys(reasons)]
    if seeds > 1:
        lines.append(f"mean ± standard deviation over {seeds} seeds")
    return lines


def _power(results: Results, table: Table) -> list[str]:
    """The smallest differences that the tests see, of the student in the middle of them; of several
    directions from the least to the largest."""
    said, segments = [], set()
    rules = {f"{len(results.seeds)} seeds pooled": results.pooled}
    rules = {"one seed": results.comparisons} | (rules if len(results.seeds) > 1 else {})
    for seeds, tests in rules.items():
        seen = []
        for metric in table.metrics:
            middles = []
            for direction in dict.fromkeys(direction for _, direction in table.columns):
                found = [
                    row
                    for place in product(results.students, [table.test_set], [metric])
                    for row in tests.get((*place, direction), [])
                    if row.get("detectable")  # equal outputs tell nothing
                ]
                if found:
                    middles.append(statistics.median(row["detectable"] for row in found))
                    segments |= {row["segments"] for row in found}
            if middles:
                span = dict.fromkeys(decimal(size, 2) for size in (min(middles), max(middles)))
                seen.append(f"{' to '.join(span)} {describe(metric).label}")
        if seen:
            said.append(f"{' or '.join(seen)} ({seeds})")
    if not said:
        return []
    sizes = " to ".join(f"{size:,}" for size in sorted({min(segments), max(segments)}))
    unseen = (
        f"with {sizes} sentences, a difference below {', '.join(said)} isn't reliably seen here"
    )
    return [f"{unseen}: fewer than 80 % of such tests would give p < 0.05"]


def format_cell(cell: TableCell) -> str:
    """25.31, 25.31†, 25.31 ± 0.22†, or a dash."""
    return f"{cell.printed} {cell.spread}".rstrip() + cell.mark


def format_gap(row: TableRow) -> str:
    """62 %; a dash where there is no such share."""
    return DASH if row.gap is None else f"{100 * row.gap:.0f} %".replace("-", "−")


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is aligned to the left, all others to the right."""
    lines = ["| " + " | ".join(row) + " |" for row in (headings, *rows)]
    return "\n".join([lines[0], "|:--|" + "--:|" * (len(headings) - 1), *lines[1:]])


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for the terminal, with headings on two lines."""
    return tabulate(
        rows,
        headers=[heading.replace(" ", "\n", 1) for heading in headings],
        disable_numparse=True,
        colalign=["left", *("right" for _ in headings[1:])],
        preserve_whitespace=True,
    )


def as_text(results: Results) -> str:
    """All test sets for the terminal, split by metric or direction where 100 columns don't do."""
    blocks = []
    for table in results.tables:
        grids = [_plain_grid(table.rows, columns) for columns in _parts(table)]
        notes = [*legend(results, table), WORTH, *signatures(results, table.test_set)]
        blocks += [f"Test set {table.test_set}", *grids[:-1], "\n".join([grids[-1], "", *notes])]
    return "\n\n".join(blocks) or "Nothing has been scored yet."


def as_markdown(results: Results) -> str:
    """All test sets as Markdown tables; the best student of each column is bold."""
    blocks = []
    for table in results.tables:
        columns = _columns(table)
        headings = ["system", *map(_heading, columns)]
        rows = []
        for row in table.rows:
            cells = [
                f"**{format_cell(cell)}**" if cell.best else format_cell(cell)
                for cell in row.cells.values()
            ]
            rows.append([row.system, *cells, *([format_gap(row)] if GAP in columns else [])])
        notes = legend(results, table)
        notes += [f"`{signature}`" for signature in signatures(results, table.test_set)]
        lines = [f"### {table.test_set}", "", markdown_table(headings, rows), ""]
        blocks.append("\n".join([*lines, *(f"- {note}" for note in notes)]))
    return "\n\n".join(blocks) + "\n"


def grid_markdown(title: str, grid: Grid) -> str:
    """A grid as a Markdown table, its groups one below the other; nothing where it is empty."""
    if not grid:
        return ""
    table = markdown_table(grid.headings, [row for rows in grid.groups.values() for row in rows])
    return "\n".join([f"### {title}", "", table, "", *(f"- {line}" for line in grid.legend), ""])


def examples_text(results: Results, n: int = 3) -> str:
    """Some translations for the terminal, chosen by a rule that the text states.

    The rule: of the example sentences where the teacher is at least as close to the reference as
    the plain student, those where the distilled student gained most on the plain student. Closeness
    is the share of words in common with the reference, in order. So that the choice deceives
    nobody, the text also says how often the distilled student is closer and how often it isn't.
    """
    student, distilled = results.plain_student, results.focus
    if student is None or distilled is None:
        return ""
    gains = []
    for example in results.examples:
        texts = example.get("translations") or {}
        if student in texts and distilled in texts:
            near = {name: closeness(text, example["reference"]) for name, text in texts.items()}
            gain = near[distilled] - near[student]
            gains.append((near.get("teacher", 1.0) >= near[student], gain, example))
    if not gains:
        return ""
    width = max(len(name) for name in ("reference", student, distilled))
    lines = []
    for _, _, example in sorted(gains, key=lambda item: item[:2], reverse=True)[:n]:
        lines.append(f"{example['test_set']} {example['direction']}, line {example['line']}")
        texts = {"source": example["source"], "reference": example["reference"]}
        texts |= example["translations"]
        for name in ("source", "reference", "teacher", student, distilled):
            if name in texts:
                lines.append(f"  {name:<{width}}  {texts[name]}")
        lines.append("")
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


def _columns(table: Table) -> list[Column]:
    """With the gap, where there is one, or a reason that it isn't given."""
    known = any(row.gap is not None or row.gap_reason for row in table.rows)
    return [*table.columns, GAP] if known else table.columns


def _parts(table: Table) -> list[list[Column]]:
    """Columns in as few tables as fit the terminal: all, else by metric, else by direction."""

    def fits(columns: list[Column]) -> bool:
        lines = _plain_grid(table.rows, columns).splitlines()
        return max(map(len, lines)) <= TERMINAL_WIDTH

    every = _columns(table)
    if fits(every):
        return [every]
    parts: list[list[Column]] = []
    for metric in table.metrics:
        part: list[Column] = []
        for column in every:
            if column[0] == metric:
                if part and not fits([*part, column]):
                    parts.append(part)
                    part = []
                part.append(column)
        parts.append(part)
    return parts


def _plain_grid(rows: Sequence[TableRow], columns: Sequence[Column]) -> str:
    """Marks have a place of their own so that decimal points stay in line."""
    cells = [[row.system, *(_aligned(row, column) for column in columns)] for row in rows]
    return plain_table(["system", *map(_heading, columns)], cells)


def _aligned(row: TableRow, column: Column) -> str:
    if column == GAP:
        return format_gap(row)
    text = format_cell(row.cells[column])
    return text if text.endswith((BETTER, WORSE)) else text + " "
