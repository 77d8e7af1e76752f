"""The readers that the rows of `evokd.recipe.formats` name.

A reader is called with a `SourceRequest` and a list for notes to the user. It yields units in the
source's order, and names file and line in every error.
"""
