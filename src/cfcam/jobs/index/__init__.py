"""The page of a folder: what was explained of it, to be sorted, filtered and opened, and what goes wrong in it."""
