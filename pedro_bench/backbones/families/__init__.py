"""Families of architectures: one module for each; `backbones.family` finds them by listing this folder."""
