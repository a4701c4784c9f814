"""Losses, optimizers, the step, devices, checkpoints and the loop."""
