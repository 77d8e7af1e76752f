"""The recipe: one YAML file that describes a whole study, as typed settings.

Nothing heavy is imported in this room, so a recipe is checked in a blink, before torch is even
loaded. Every section is frozen; a function of another room takes the section that it needs, never
the recipe. `recipes/reference.yaml` holds every key with a comment.
"""
