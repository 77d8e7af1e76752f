"""Translators over HTTP: LibreTranslate's API, OpenAI's for translation prompts, and a page."""
