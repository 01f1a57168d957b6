"""Orchestration: the rooms meet here, in Ray or in plain Python. Read `backfill.py` first."""
