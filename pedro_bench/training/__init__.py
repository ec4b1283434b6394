"""Training: one loop for every method, with early stopping and exact resume."""
