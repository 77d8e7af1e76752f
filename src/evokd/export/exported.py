"""A folder that a translator was exported to: what evokd reads of it, and the files of its format.

export.json                            format, number format, tool, what it was made from
config.json, tokenizer…, prompt.json   how it is asked, and where its answers end
README.md                              how it is used, by evokd and by the format's own tool
parity.json                            how far it says what the model said
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from evokd.data.prompts import Prompt
from evokd.errors import InputError
from evokd.models.encoding import encode_prompts
from evokd.models.loading import Translator, end_ids
from evokd.models.saving import EXAMPLE, save_without_weights, whole_or_not
from evokd.recipe.exports import EXPORT, FORMATS, check_format
from evokd.rundir.files import read_json, write_json, write_text
from evokd.translate.engines.engine import Engine

PARITY = "parity.json"
CARD = """\
# {title}

{format}, {quantization}, by {tool}; exported by evokd from {origin}.

```sh
evokd translate FOLDER -l {first} < in.txt > out.txt
```

An answer ends at its end token, or at the first newline after some text. {example!r},
into {target}, by {format} itself:

{code}"""


@dataclass(frozen=True)
class Exported:
    """A translator that was exported, loaded."""

    translator: Translator
    """All but the weights, where an engine has them."""
    engine: Engine | None
    """None where evokd's own decoder translates."""
    facts: dict[str, Any]
    """What `export.json` holds."""

    @contextmanager
    def at_work(self) -> Iterator[Engine | None]:
        """Its engine, which gives back what it holds afterwards."""
        try:
            yield self.engine
        finally:
            if self.engine is not None:
                self.engine.close()

    @property
    def by(self) -> str:
        """What translates."""
        if self.engine is None:
            return str(self.facts["tool"])
        return f"{self.engine.name} {self.engine.version}"

    @property
    def precision(self) -> str:
        """Of the weights in its files."""
        own = self.facts["quantization"]
        return str(self.facts["dtype"] if own == "none" else own)


class Shell(nn.Module):
    """What of a model is asked besides its weights."""

    def __init__(self, config: Any, generation: Any, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self.config, self.generation_config = config, generation
        self.device, self.dtype = device, dtype


def export(
    translator: Translator,
    folder: Path,
    to: str,
    quantization: str = "none",
    directions: Sequence[str] = (),
    origin: str = "",
) -> dict[str, Any]:
    """Write a translator in a format, whole or not at all, and say what was written.

    Where it is quantized its own weights may be spoilt: load it anew to use it on.

    Args:
        directions: what it was trained for, such as en-de.
        origin: where it comes from, for those who find the folder.

    Raises:
        InputError: see `check_format`; a model that the format doesn't know.
    """
    check_format(to, quantization)
    module = import_module(FORMATS[to].module)
    model, tokenizer, prompt = translator.model, translator.tokenizer, translator.prompt
    with whole_or_not(folder) as draft:
        facts = {
            "format": to,
            "quantization": quantization,
            "dtype": str(model.dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in model.parameters()),
            "origin": origin,
        }
        save_without_weights(model, tokenizer, prompt, draft, directions)
        facts["tool"] = module.write(translator, draft, quantization)
        write_json(draft / EXPORT, facts)
        if directions:
            write_text(draft / "README.md", _card(translator, module.CARD, directions, facts))
    return facts


def load_export(folder: Path, device: torch.device) -> Exported:
    """An exported translator, ready to answer.

    Raises:
        InputError: a format of a later version, files that are gone or damaged, a device or a
            package that isn't there.
    """
    try:
        facts = read_json(folder / EXPORT)
        check_format(facts["format"], facts["quantization"], reading=True)
        config = AutoConfig.from_pretrained(folder)
        generation = GenerationConfig.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, engine = import_module(FORMATS[facts["format"]].module).opened(folder, device)
        if model is None:
            model = Shell(config, generation, device, getattr(torch, facts["dtype"]))
        model.generation_config = generation
    except InputError:
        raise
    except Exception as error:  # libraries raise many kinds; all mean: these files won't do
        raise InputError(
            f"{folder} can't be read ({' '.join(str(error).split())[:300]}); export it again"
        ) from error
    return Exported(Translator(model, tokenizer, Prompt.load(folder)), engine, facts)


def _card(
    translator: Translator, code: str, directions: Sequence[str], facts: dict[str, Any]
) -> str:
    source, target = directions[0].split("-")
    given = (translator.tokenizer, translator.prompt, [EXAMPLE], source, target)
    ends = end_ids(translator.model, translator.tokenizer, translator.prompt)
    return CARD.format(
        title=f"Translator {', '.join(directions)}",
        first=directions[0],
        example=EXAMPLE,
        target=target,
        code=code.format(prompts=encode_prompts(*given), ends=ends),
        **facts,
    )
