"""The REST API and the page: a file for each group of addresses, each with its ``router``."""
