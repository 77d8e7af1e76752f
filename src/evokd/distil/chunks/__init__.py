"""An objective on hidden states, a chunk of tokens at a time."""
