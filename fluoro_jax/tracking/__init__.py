"""Trackers: frames in, positions out, one protocol for all."""
