"""shotlake: an archive of video in, searchable vectors with provenance out."""

__version__ = "0.1.0"
