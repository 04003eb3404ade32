"""What was opened: studies that are read when they are looked at, and their maps."""
