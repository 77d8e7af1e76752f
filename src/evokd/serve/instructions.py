"""What a prompt asks for: a text, and which languages it is translated from and into.

Two kinds of prompt are understood: those that evokd itself writes (`evokd.data.prompts`), and
instructions in English that name the language, such as "Translate from English to German: …".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from evokd.data.languages import SPELLINGS, language
from evokd.data.prompts import PLACEHOLDERS, PROMPTS

LONGEST = 600
"""Characters of an instruction; what stands behind them is text."""
ACCEPTED = (
    'accepted: a model such as NAME:en-de, or "Translate the following text from English to '
    'German:" before the text, or in the system message'
)


@dataclass(frozen=True)
class Instruction:
    """What is asked for; None is what wasn't said."""

    source: str | None
    target: str | None
    text: str


def read_prompt(prompt: str) -> Instruction | None:
    """A text with an instruction in front of it; None where there is no instruction."""
    for pattern in _templates():
        found = pattern.fullmatch(prompt.strip())
        if found:
            said = found.groupdict()
            codes = [
                _code(said.get(f"{side}_language") or said.get(f"{side}_code") or "")
                for side in ("source", "target")
            ]
            if all(codes):
                return Instruction(codes[0], codes[1], said["source"])
    head = prompt[:LONGEST]
    order = re.match(r"(?is).{0,200}?\btranslat(?:e|ing|ions?|or)\b", head)
    if not order:
        return None
    quoted = re.search(r'"(.+)"|“(.+)”|«(.+)»', head, re.DOTALL)
    for end in re.finditer(r":\s|:$|\n", head[order.end() :] + "\n"):
        said_before = head[: order.end() + end.start()]
        if quoted and quoted.start() < len(said_before) < quoted.end():
            continue
        outside = said_before.replace(quoted[0], " ") if quoted else said_before
        source, target = languages_in(outside)
        if target:
            text = prompt[order.end() + end.end() :].strip()
            if not text and quoted:
                text = next(filter(None, quoted.groups()))
            return Instruction(source, target, text)
    return None


def languages_in(instruction: str) -> tuple[str | None, str | None]:
    """Codes of the languages from which and into which it says to translate."""
    instruction = instruction[:LONGEST]
    codes = re.search(r"(?i)\bfrom\s+([a-z]{2,3})\s+(?:in)?to\s+([a-z]{2,3})\b", instruction)
    if codes:
        return _code(codes[1]), _code(codes[2])
    article = r"\s+(?:the\s+)?"
    into = re.search(rf"(?i)\b(?:in)?to{article}({_names()})\b", instruction)
    into = into or re.search(rf"(?i)\bin{article}({_names()})\b", instruction)
    if not into:
        return None, None
    target = _code(into[1])
    out_of = re.search(rf"(?i)\bfrom{article}({_names()})\b", instruction)
    if out_of:
        return _code(out_of[1]), target
    named = re.findall(rf"\b({_names()})\b", instruction)  # "the following English text"
    others = [code for code in map(_code, named) if code != target]
    return (others[0] if others else None), target


def _code(spelled: str) -> str | None:
    spelled = spelled.lower()
    return language(spelled).code if spelled in SPELLINGS else None


@cache
def _names() -> str:
    """Of all languages, as they are written in English, the longest first."""
    names = {entry.name for entry in SPELLINGS.values()}
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


@cache
def _templates() -> list[re.Pattern[str]]:
    """Expressions that match what `Prompt.render` makes of evokd's own prompts."""
    placeholder = re.compile(r"\\\{(" + "|".join(PLACEHOLDERS) + r")\\\}")
    made = []
    for prompt in PROMPTS.values():
        seen: set[str] = set()

        def group(found: re.Match[str], seen: set[str] = seen) -> str:
            name = found[1]
            if name in seen:
                return rf"(?P={name})"
            seen.add(name)
            return rf"(?P<{name}>{'.*' if name == 'source' else '[^<>:,.]{2,40}?'})"

        pattern = placeholder.sub(group, re.escape(prompt.template.strip()))
        made.append(re.compile(pattern, re.DOTALL))
    return made
