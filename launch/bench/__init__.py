"""Benchmarks, one file a subject; `launch.benchmark` runs them."""
