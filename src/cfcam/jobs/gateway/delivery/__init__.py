"""Results out: objects to an archive, Bundles to a FHIR server; tried until they are there, and there once."""
