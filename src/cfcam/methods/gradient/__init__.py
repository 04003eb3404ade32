"""Weights from the gradients of the score."""
