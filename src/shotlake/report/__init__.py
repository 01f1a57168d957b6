"""Seconds to dollars an hour of video: what was measured, what it costs, and how it reads."""
