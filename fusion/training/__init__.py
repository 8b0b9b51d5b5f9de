"""Recipes that make the weights under `extractors/weights` and `fusion/weights`, each reproducible by one command."""
