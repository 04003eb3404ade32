"""Weights from scores alone, of masked inputs or of masked activations; no gradient is taken."""
