"""The live network of the viewer: one thread that owns it, maps that are made when somebody asks, and their numbers."""
