"""The breathing patient: anatomy, tissues and motion."""
