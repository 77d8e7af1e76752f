"""How long a text a translator is given at once."""

from __future__ import annotations

from collections.abc import Callable

from evokd.models.batching import max_positions
from evokd.models.encoding import encode_prompts, token_ids
from evokd.models.loading import Translator
from evokd.recipe.training import TrainingSettings

TRAINED = int(TrainingSettings.model_fields["max_length"].default)
"""Most tokens of prompt and response that a model saw at once, unless its recipe says otherwise."""
FEWEST = 8


def size_by(translator: Translator) -> Callable[[str], int]:
    """What tells how many tokens a text has."""
    tokenizer = translator.tokenizer
    return lambda text: len(token_ids(tokenizer, [text], literal=True)[0])


def longest_source(translator: Translator, source_code: str, target_code: str) -> int:
    """Tokens of the longest source that leaves its translation as much room as it takes itself, in
    what the model was trained on at once and in its positions."""
    given = (translator.tokenizer, translator.prompt, ["a"], source_code, target_code)
    around = len(encode_prompts(*given)[0]) - 1
    return max(FEWEST, min(TRAINED, max_positions(translator.model)) // 2 - around)
