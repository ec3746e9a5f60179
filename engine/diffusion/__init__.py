"""The mathematics of diffusion sampling: arrays in, arrays out; no files, no networks."""
