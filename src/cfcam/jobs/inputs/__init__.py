"""What a job is given: files found, named, prepared; masks and boxes beside them; and names that must not be told."""
