"""Files in: pictures, DICOM objects, NIfTI; each checked before it is decoded, and what was assumed is said.

What is for others stands in `cfcam.imaging`; here each has its module:

* `listing`: which files are pictures; `kinds`: what a file is, by its first bytes; `files`: its bytes.
* `pictures`: PNG, JPEG, TIFF and their like, with `bands`; `masks`: what a mask picture marks.
* `dicom`: one frame of a DICOM object as a picture, of `dicom_object` (parsed), `dicom_frames` (decoded),
  `dicom_values` and `lookup_tables` (what stored values mean).
* `volumes`: NIfTI files and DICOM series as volumes: `nifti` with `nifti_space`; `series` (which slices belong
  together) and `stacking` (their order and their grid).
"""
