"""A reader for each corpus format: the rows of `evokd.recipe.formats` name them.

A reader is called with a `SourceRequest` and a list for notes to the user. It yields units in the
file's order, and names file and line in every error.
"""
