"""The `fluoro` command."""
