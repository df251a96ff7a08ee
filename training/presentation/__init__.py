"""The small network that recognises negatives and turned films, shipped as handler/presentation.npz.

`pictures` makes variations of films and pictures that are none; `net` learns from them; `measures` counts what is
recognised in all sixteen presentations; `train` is the command, cross-fitted by patient.
"""
