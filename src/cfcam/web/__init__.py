"""The viewer: a server that listens on this machine alone, its page in the browser, and its REST API."""
