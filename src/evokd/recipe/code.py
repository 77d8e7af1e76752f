"""Python code of a user's own that a recipe names: `package.module:name`."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Collection, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
ADDRESS_FORM = "package.module:name"
OURS = ("evokd", "evokd_extras")


def is_address(value: Any) -> bool:
    """Whether a value is written as `package.module:name`."""
    return isinstance(value, str) and ADDRESS.fullmatch(value) is not None


def import_own(module: str) -> Any:
    """A module that is installed, or lies in a folder of PYTHONPATH or where the command is typed.

    Raises:
        ValueError: it can't be imported.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{module!r} imports {error.name}, which isn't installed") from None
        raise ValueError(
            f"{module!r} can't be imported: {error}; the name of a Python module is accepted that "
            "is installed, or lies in a folder of PYTHONPATH or where the command is typed"
        ) from None
    except Exception as error:  # whatever that code does
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{module!r} fails while it is imported ({what})") from None


def load(address: str) -> Any:
    """What stands at `package.module:name`.

    Raises:
        ValueError: the module can't be imported, or has nothing of that name.
    """
    module, _, name = address.partition(":")
    holder = import_own(module)
    if not hasattr(holder, name):
        names = [one for one in vars(holder) if not one.startswith("_")]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean {module}:{near[0]}?" if near else ""
        raise ValueError(f"{module} has no {name!r}{hint}")
    return getattr(holder, name)


def load_function(address: str) -> Any:
    """A function that stands at `package.module:name`. Raises ValueError as `load` does."""
    function = load(address)
    if not callable(function):
        raise ValueError(f"{address} is {type(function).__name__}, no function")
    return function


def name_in(address: str) -> str:
    """The last part of an address; a name that is none as it is."""
    return address.rpartition(":")[2] if is_address(address) else address


def code_hashes(
    names: Iterable[str], built_in: Collection[str], plugins: Iterable[str]
) -> dict[str, str]:
    """SHA-256 of the code that those of `names` come from that aren't evokd's own, by module:
    addresses say where they are, other names are of `plugins`."""
    outside = [name for name in names if name not in built_in]
    modules = {name.partition(":")[0] for name in outside if is_address(name)}
    if any(not is_address(name) for name in outside):
        modules.update(plugins)
    return {
        module: _hash_of(module)
        for module in sorted(modules)
        if module.partition(".")[0] not in OURS
    }


def _hash_of(module: str) -> str:
    """Of a module's file; of all files of Python of the package that it is in."""
    package = find_spec(module.partition(".")[0])
    folders = list(package.submodule_search_locations or []) if package else []
    files = [file for folder in folders for file in sorted(Path(folder).rglob("*.py"))]
    if not files and package is not None and package.origin is not None:
        files = [Path(package.origin)]
    found = hashlib.sha256()
    for file in files:
        found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()
