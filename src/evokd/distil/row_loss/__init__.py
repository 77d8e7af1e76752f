"""Loss and gradient of a chunk's rows of logits, in closed form."""
