"""Losses, optimisers, the step, devices, checkpoints and the loop."""
