"""The tables for LaTeX: columns add up, and text prints as it stands."""

from __future__ import annotations

import re

from evokd.report.latex import as_latex, latex_escape
from evokd.report.results import Results
from fake_run import make_results


def test_latex_columns_add_up_and_ink_is_plain() -> None:
    latex = as_latex(Results(make_results((1, 2))))
    assert latex.isascii()
    preamble = re.search(r"\\begin\{tabular\}\{(\w+)\}", latex)
    assert preamble
    body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 6
    for line in rows:
        spans = [int(number) - 1 for number in re.findall(r"\\multicolumn\{(\d)\}", line)]
        assert line.count(" & ") + line.startswith("& ") + sum(spans) + 1 == len(preamble[1])
    assert r"self\_evolution & \textbf{" in latex
    assert not re.search(r"(?<!\\)[_%&#](?!\s)", body.replace(" & ", " "))
    assert len(re.findall(r"\\begin\{", latex)) == len(re.findall(r"\\end\{", latex))


def test_latex_escapes() -> None:
    assert latex_escape(r"50 % of a_b & {c} \ $5 #1 ~^|") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{} \$5 \#1 "
        r"\textasciitilde{}\textasciicircum{}\textbar{}"
    )
