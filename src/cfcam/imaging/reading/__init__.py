"""Files in: pictures, DICOM objects, NIfTI; each checked before it is decoded, and what was assumed is said."""
