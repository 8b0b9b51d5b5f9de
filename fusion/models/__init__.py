"""Fusion models: posteriors of the modalities in, one calibrated decision out."""
