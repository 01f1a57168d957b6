"""A rendered world with known truth: things that move, with sounds; scenes, clips and whole archives."""
