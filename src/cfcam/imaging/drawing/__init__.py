"""Maps as people look at them: colours, overlays, sheets, slices of volumes, cells of a notebook; and PNG files.

What is for others stands in `cfcam.imaging`; here each has its module:

* `overlay`: a map over its picture, and the banner on a picture without one; `look`: palette, opacity and what the
  opacity follows; `outline`: the line at the threshold, and the box of a detector.
* `palettes`: the colours of maps; `visibility`: in which of them more evidence shows more.
* `sheet`: a picture beside the maps of several methods; `volume_sheet`: the same of a volume, with slices, montage and
  projections; `difference`: two studies side by side, `signed`: their difference; `notebook`: the figure and the cell
  of an explanation.
* `parts`, `cells`, `planes`, `text`: what sheets are made of: page and legend, rows and columns, planes, letters.
* `png`: the way to disk.
"""
