"""Features, distances and the evaluation of runs."""
