"""Evaluation: generated answers and log-likelihoods of an adapted model."""
