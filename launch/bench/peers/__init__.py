"""What a user would write or pick instead, for comparison in `launch.benchmark`."""
