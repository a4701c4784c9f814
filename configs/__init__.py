"""One file a study; presets by argument, as in `paper_group.py:smoke`."""
