"""Methods that read how the tokens of a transformer attend to each other."""
