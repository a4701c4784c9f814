"""Figures and HTML, for a study and for one clip."""
