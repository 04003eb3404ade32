"""What the commands say: results on stdout, everything said about them on stderr."""
