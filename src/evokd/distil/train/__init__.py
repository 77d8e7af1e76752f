"""Training a student: the trainer, and what goes on around it."""
