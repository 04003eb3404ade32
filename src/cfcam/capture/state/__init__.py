"""A network and the process around it are after a call what they were before."""
