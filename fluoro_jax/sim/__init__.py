"""A patient and an X-ray machine, as pure functions of parameters."""
