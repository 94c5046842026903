"""Datasets: every one becomes a store, a memory-mapped array with its description."""
