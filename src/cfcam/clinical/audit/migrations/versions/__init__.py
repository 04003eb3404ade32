"""One module for each version of the audit's table."""
