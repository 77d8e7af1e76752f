"""What a shell offers where the value of a flag is typed; `evokd --print-completion` prints it."""

from __future__ import annotations

from typing import Any

import shtab

from evokd.recipe.shipped import shipped_recipes

_NAMES = " ".join(shipped_recipes())
RECIPE_NAME = {
    **{"bash": "_evokd_recipe_names", "zsh": f"({_NAMES})", "tcsh": f"({_NAMES})", "fish": _NAMES},
    "preamble": {"bash": f'_evokd_recipe_names() {{ compgen -W "{_NAMES}" -- "$1"; }}'},
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
    "NAME": RECIPE_NAME,
}
"""By the word that stands for the value in a usage line; other values are the reader's to know."""
