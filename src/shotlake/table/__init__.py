"""The lake's tables: vectors with their provenance, exactly once. Read `committer.py` first."""
