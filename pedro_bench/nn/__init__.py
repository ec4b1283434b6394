"""Building blocks that methods share: injection by role, adapted model, generators, low-rank maps."""
