"""`mini`: a small fused audio-visual encoder that knows the rendered world, and nothing else."""
