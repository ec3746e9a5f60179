"""diffopt's dashboard. It watches runs through their folders and never imports MLX."""
