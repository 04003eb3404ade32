"""One study: its result, and everything that is written of it."""
