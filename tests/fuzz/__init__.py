"""Fuzzing of every reader: valid files, changed at run time; nothing that crashes other software is kept here."""
