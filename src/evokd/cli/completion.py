"""What a shell offers where the value of a flag is typed; `evokd --print-completion` prints it."""

from __future__ import annotations

from typing import Any

import shtab

from evokd.recipe.objectives import method_names
from evokd.recipe.shipped import shipped_recipes

_NAMES = " ".join(shipped_recipes())


def _words(function: str, words: str) -> dict[str, Any]:
    """What has a shell offer some words; `function` is what bash calls it."""
    return {
        **{"bash": function, "zsh": f"({words})", "tcsh": f"({words})", "fish": words},
        "preamble": {"bash": f'{function}() {{ compgen -W "{words}" -- "$1"; }}'},
    }


# A name that holds _file has bash quote what it completes, and go on behind a folder.
RECIPE = shtab.FILE | {
    "bash": "_evokd_recipe_file",
    "zsh": "_evokd_recipe_file",
    "fish": f"{_NAMES} {shtab.FILE['fish']}",
    "preamble": {
        "bash": f'_evokd_recipe_file() {{ compgen -W "{_NAMES}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": "_evokd_recipe_file() {\n"
        f"  _alternative 'names:recipe:({_NAMES})' 'files:file:_files'\n}}",
    },
}
COMPLETED: dict[str, dict[str, Any]] = {
    "DIR": shtab.DIRECTORY,
    **dict.fromkeys(("FILE", "PREFIX", "HYP", "ID", "MODEL", "STUDENT", "PROMPT"), shtab.FILE),
    "RECIPE": RECIPE,
    "NAME": _words("_evokd_recipe_names", _NAMES),
    "METHOD": _words("_evokd_methods", " ".join(method_names())),
}
"""By the word that stands for the value in a usage line; other values are the reader's to know."""
