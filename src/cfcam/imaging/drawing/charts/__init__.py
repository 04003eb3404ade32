"""Numbers of maps as pictures."""
