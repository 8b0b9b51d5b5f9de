"""Cues in, emotion events out: textualization, fusion models, dialogue state and evidence.

Nothing here knows of transport; `extractors` is the only package of the product it may import.
"""
