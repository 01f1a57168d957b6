"""A rendered world with known truth: a coloured shape that moves, with a sound; scenes, clips and whole archives."""
