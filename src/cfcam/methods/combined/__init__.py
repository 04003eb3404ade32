"""Other methods put together: over layers, over versions of the input, over classes."""
