"""From a translator to files that others serve, and how far these say the same."""
