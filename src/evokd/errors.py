"""The one exception that means: the input is at fault, not the program."""


class InputError(Exception):
    """Bad input from the user: a recipe, a file, a flag, a model that doesn't fit.

    The message says what was found, what is accepted and what to type. The command line prints it
    without a traceback and exits with code 2.
    """
