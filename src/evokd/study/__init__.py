"""A study from recipe to report; `run.py` is all of it on one page."""
