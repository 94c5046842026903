"""What tables of runs say: speed, claims, reproducibility, cost of matching."""
