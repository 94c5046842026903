"""The paper's tables and figures, drawn from result files.

A figure is a notebook, which says what it reads, and a function, which takes that and returns the
figure.
"""
