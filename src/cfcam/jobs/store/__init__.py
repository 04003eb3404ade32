"""One store in place of very many files: maps as a Zarr hierarchy, what they are of as Parquet."""
