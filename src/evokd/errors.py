"""The one exception that means: the input is at fault, not the program."""

import importlib.util


class InputError(Exception):
    """Bad input from the user: a recipe, a file, a flag, a model that doesn't fit.

    The message says what was found, what is accepted and what to type. The command line prints it
    without a traceback and exits with code 2.
    """


def require(package: str, extra: str, what: str) -> None:
    """See that an optional package is installed.

    Raises:
        InputError: it isn't; `what` needs it.
    """
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{what} needs {package}; type pip install 'evokd[{extra}]'")
