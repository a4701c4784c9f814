"""Cases on disk or simulated on the fly, as batches."""
