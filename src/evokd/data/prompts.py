"""What stands before a translation, and what is taken from an answer.

A prompt is a template with these placeholders, of which only {source} must occur:

    {source}                               the sentence
    {source_language} {target_language}    English names: German
    {source_code} {target_code}            codes: de

A prompt is added by a row of `PROMPTS`, here or in a module that a recipe names under `plugins`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from evokd.data.languages import language
from evokd.data.textfiles import read_text
from evokd.errors import InputError
from evokd.recipe.code import is_address, load
from evokd.rundir.files import write_text

PLACEHOLDERS = ("source", "source_language", "target_language", "source_code", "target_code")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


@dataclass(frozen=True)
class Prompt:
    """A template, its style (a name in `PROMPTS`, or `file`), and whether the tokenizer's chat
    template goes around it."""

    style: str
    template: str
    chat: bool = False

    def render(self, source: str, source_code: str, target_code: str) -> str:
        """The text before the response; for a chat prompt, the content of the user's message.

        Braces in the sentence are text. Codes are printed in their shortest form (`en` for
        `eng_Latn`), so that a prompt doesn't depend on how a recipe spells them.

        Raises:
            InputError: an unknown language.
        """
        source_language, target_language = language(source_code), language(target_code)
        values = {
            "source": source,
            "source_language": source_language.name,
            "target_language": target_language.name,
            "source_code": source_language.code,
            "target_code": target_language.code,
        }
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.template)

    def save(self, folder: str | Path) -> None:
        """Write prompt.json beside a model."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2)
        write_text(Path(folder) / "prompt.json", text + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Prompt:
        """Read what `save` wrote.

        Raises:
            InputError: a missing or damaged file.
        """
        path = Path(folder) / "prompt.json"
        try:
            prompt = cls(**json.loads(read_text(path)))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no prompt ({error}); keys style, template and chat are accepted"
            ) from None
        _check_template(prompt.template, str(path))
        return prompt


# Alpaca's frame with ParroT's instruction (Jiao et al. 2023), as in the paper's section 4.1.
_PARROT = """\
Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
Translate the following sentences from {source_language} to {target_language}.

### Input:
{source}

### Response:"""

# Xu et al. 2024, "A Paradigm Shift in Machine Translation".
_ALMA = """\
Translate this from {source_language} to {target_language}:
{source_language}: {source}
{target_language}:"""

_CHAT = """\
Translate the following sentence from {source_language} to {target_language}. \
Answer with the translation only.

{source}"""

# A few tokens in all, for students whose tokenizer holds the tags (see prompt_tags).
_COMPACT = "<{source_code}>{source}<{target_code}>"

PROMPTS = {
    "parrot": Prompt("parrot", _PARROT),
    "alma": Prompt("alma", _ALMA),
    "chat": Prompt("chat", _CHAT, chat=True),
    "compact": Prompt("compact", _COMPACT),
}


def load_prompt(name_or_path: str | Path) -> Prompt:
    """A prompt by its name in `PROMPTS`, from a template file or as package.module:name.

    A template file is taken as it is, less one final newline (which editors add); a second one
    stays.

    Raises:
        InputError: neither a name nor a file, no {source}, or an unknown placeholder.
    """
    name = str(name_or_path)
    if name in PROMPTS:
        prompt = PROMPTS[name]
    elif Path(name).is_file():
        template = read_text(Path(name)).replace("\r\n", "\n").removesuffix("\n")
        prompt = Prompt("file", template)
    elif is_address(name):
        prompt = _prompt_at(name)
    else:
        raise InputError(
            f"prompt {name!r} is neither a style nor a file; accepted: "
            f"{', '.join(PROMPTS)}, the path of a template file that holds {{source}}, or "
            "package.module:name"
        )
    _check_template(prompt.template, name)
    return prompt


def _prompt_at(address: str) -> Prompt:
    """A `Prompt`, or a template, that a module of the user's holds."""
    try:
        found = load(address)
    except ValueError as error:
        raise InputError(f"prompt {error}") from None
    if isinstance(found, Prompt):
        return found
    if isinstance(found, str):
        return Prompt("file", found)
    raise InputError(
        f"prompt {address} is {type(found).__name__}; a template (str) or a Prompt is accepted"
    )


def _check_template(template: str, origin: str) -> None:
    for name in re.findall(r"\{([A-Za-z_]\w*)\}", template):
        if name not in PLACEHOLDERS:
            accepted = ", ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
            raise InputError(f"{origin}: unknown placeholder {{{name}}}; accepted: {accepted}")
    if "{source}" not in template:
        raise InputError(f"{origin} has no {{source}}; put it where the sentence belongs")


def prompt_tags(languages: Iterable[str]) -> list[str]:
    """The special tokens that a fresh tokenizer holds for the compact style: `<en>`, `<de>`, …"""
    return list(dict.fromkeys(f"<{language(code).code}>" for code in languages))


# All that str.splitlines() takes for a line end, and tabs: \x1c–\x1e are ASCII separators.
_LINE_BREAKS = re.compile("[\t\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


def answer_line(text: str) -> str:
    """The first line of an answer, as exactly one line: the first one that isn't blank.

    Every other line end of Unicode becomes a space, so that no later line of a file can shift.
    """
    first = text.lstrip().split("\n", 1)[0]
    return _LINE_BREAKS.sub(" ", first).strip()
