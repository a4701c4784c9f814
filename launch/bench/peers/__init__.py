"""Alternative implementations that `launch.benchmark` compares with."""
