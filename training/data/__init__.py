"""Films on disk, and what is known of them before anything is learned.

`films` finds, reads and splits a labelled folder, with the server's own decoding; all other sub-packages take their
films from it. `copies` and `duplicates` find the same film twice, `report` describes a data set, `composites` makes the
reference films, which are no patient's.
"""
