"""Noise-sample pairs."""
