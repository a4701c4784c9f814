"""The X-ray machine: spectrum, projection, scatter, noise and detector."""
