"""Sentences in: languages, corpus readers, cleaning, prompts, phrasebook. Imports no torch."""
