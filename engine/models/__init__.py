"""The networks and their files: diffusers' architectures in MLX, and the folders they live in."""
