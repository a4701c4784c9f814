"""From tracks to statistics, tables, figures and the report."""
