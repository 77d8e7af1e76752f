"""Faster text: engines of others in the place of evokd's own decoder, token ids in and out."""
