"""Maps as people look at them: colours, overlays, sheets, slices of volumes, cells of a notebook; and PNG files."""
