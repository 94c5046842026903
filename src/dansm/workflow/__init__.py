"""What the rules of the workflow look up, their jobs, and what these cost."""
