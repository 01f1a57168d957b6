"""Clips to unit vectors and queries to the same space: one contract, several encoders."""
