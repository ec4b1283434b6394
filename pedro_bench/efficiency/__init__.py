"""Efficiency: speed and memory of generation, method against method in one run (Table 3)."""
