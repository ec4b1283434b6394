"""Backbones: one file for each family of architectures, and what all families load with."""
