"""Plans, the paper's numbers and tables, and their reproduction."""
