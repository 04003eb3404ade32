"""How objects come in: by C-STORE, from a folder, from an archive that is asked; all by one way into the spool."""
