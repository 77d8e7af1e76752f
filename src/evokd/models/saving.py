"""A translator as a folder that evokd and others read: transformers 4.5x and 5, and converters."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from evokd.data.languages import language
from evokd.data.prompts import Prompt
from evokd.errors import InputError
from evokd.models.encoding import pad_id_of
from evokd.models.loading import end_ids, generating_by
from evokd.rundir.files import read_json, write_json, write_text

DIRECTIONS = "directions.json"
EXAMPLE = "The weather is fine today."
CARD = """\
# {title}

A translator: {directions}. {parameters} parameters, {model_type}, {dtype}; saved by evokd.

```sh
evokd translate FOLDER -l {first} < in.txt > out.txt
```

It was trained on this prompt, which ends where the translation begins{chat}:

````text
{prompt}
````

Translations are greedy and end at {ends}; `generation_config.json` says so, too. With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
prompt = {literal}
inputs = tokenizer(prompt, return_tensors="pt"{special})
answer = model.generate(**inputs, max_new_tokens=100)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
```
"""


def save_translator(
    model: PreTrainedModel,
    tokenizer: Any,
    prompt: Prompt,
    folder: str | Path,
    directions: Sequence[str] = (),
) -> None:
    """Write model, tokenizer, generation settings and prompt as one folder, whole or not at all.

    Args:
        directions: what it was trained for, such as en-de; empty where that isn't known.
    """
    with whole_or_not(Path(folder)) as draft:
        save_with_weights(model, tokenizer, prompt, draft)
        if directions:
            write_json(draft / DIRECTIONS, list(directions))
            write_text(draft / "README.md", _card(model, tokenizer, prompt, directions))


def save_with_weights(model: PreTrainedModel, tokenizer: Any, prompt: Prompt, folder: Path) -> None:
    """All of that but directions and card, into a folder that is there."""
    with generating_by(model, _greedy(model, tokenizer, prompt)):
        model.save_pretrained(folder)
    _save_around(model, tokenizer, prompt, folder)


def save_without_weights(
    model: PreTrainedModel,
    tokenizer: Any,
    prompt: Prompt,
    folder: Path,
    directions: Sequence[str] = (),
) -> None:
    """All of that but weights and card, into a folder that is there."""
    model.config.save_pretrained(folder)
    _greedy(model, tokenizer, prompt).save_pretrained(folder)
    _save_around(model, tokenizer, prompt, folder)
    if directions:
        write_json(folder / DIRECTIONS, list(directions))


@contextmanager
def whole_or_not(folder: Path) -> Iterator[Path]:
    """A draft of a folder, which takes its place when all is written."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder} can't be written ({error.strerror}); choose another") from None
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    umask = os.umask(0)
    os.umask(umask)
    for path in draft.rglob("*"):  # safetensors writes files that only their owner can read
        if path.is_file():
            path.chmod(0o666 & ~umask)
    outdated = draft.with_suffix(".outdated")
    if folder.exists():
        folder.rename(outdated)
    draft.rename(folder)
    shutil.rmtree(outdated, ignore_errors=True)


def _greedy(model: PreTrainedModel, tokenizer: Any, prompt: Prompt) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids(model, tokenizer, prompt),
        pad_token_id=pad_id_of(tokenizer),
    )


def _save_around(model: Any, tokenizer: Any, prompt: Prompt, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    prompt.save(folder)
    write_json(folder / "config.json", _for_earlier(read_json(folder / "config.json")))
    _for_earlier_tokenizers(folder / "tokenizer_config.json", tokenizer.chat_template)


def trained_directions(folder: str | Path) -> list[str]:
    """What a folder that `save_translator` wrote was trained for; empty where that isn't known."""
    try:
        return [str(one) for one in read_json(Path(folder) / DIRECTIONS)]
    except (OSError, ValueError, TypeError):
        return []


def _for_earlier(config: Mapping[str, Any]) -> dict[str, Any]:
    """Beside the keys of transformers 5 those that earlier versions, and others, read: they know
    no rope_parameters and would take a default for θ."""
    made = dict(config) | {"use_cache": True}
    if "dtype" in config:
        made["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters") or {}
    local = rope.get("sliding_attention")
    rope = rope.get("full_attention", rope)
    if "rope_theta" in rope:
        made.setdefault("rope_theta", rope["rope_theta"])
        if rope.get("rope_type", "default") != "default":
            scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
            made.setdefault("rope_scaling", scaling)
    if local and "rope_theta" in local:
        made.setdefault("rope_local_base_freq", local["rope_theta"])
    return made


def _for_earlier_tokenizers(path: Path, chat_template: Any) -> None:
    """The class of a tokenizer that is all in tokenizer.json, by the name that earlier versions
    know; and its chat template, which they, and converters, don't look for in a file of its own."""
    config = read_json(path)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(chat_template, str):
        config.setdefault("chat_template", chat_template)
    write_json(path, config)


def _card(model: Any, tokenizer: Any, prompt: Prompt, directions: Sequence[str]) -> str:
    first = directions[0]
    source, target = first.split("-")
    try:
        text = prompt.render(EXAMPLE, source, target)
    except InputError:  # a language that only this prompt's author knows
        text = prompt.template
    literal, special = repr(text), ""
    if prompt.chat and tokenizer.chat_template:
        message = [{"role": "user", "content": text}]
        literal = f"tokenizer.apply_chat_template(\n    {message!r},\n    tokenize=False,\n    "
        literal += "add_generation_prompt=True,\n)"
        special = ", add_special_tokens=False"
    names = [f"{language(a).name} to {language(b).name}" for a, b in map(_codes, directions)]
    ends = [repr(tokenizer.decode([one])) for one in end_ids(model, tokenizer, prompt)]
    return CARD.format(
        title=f"Translator {', '.join(directions)}",
        directions=", ".join(names),
        parameters=f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million",
        model_type=model.config.model_type,
        dtype=str(model.dtype).removeprefix("torch."),
        first=first,
        chat=", within the tokenizer's chat template" if prompt.chat else "",
        prompt=text,
        ends=" or ".join(ends) + " or the first newline after some text",
        literal=literal,
        special=special,
    )


def _codes(direction: str) -> tuple[str, str]:
    source, target = direction.split("-")
    return source, target
