"""From films and a recipe to a run folder, and from that to the weights and the ONNX file that ship.

`recipe` says how a run learns; `dataset` makes batches of films, changed by `augment` (`view`, `look`); `learner` has
the loss, with `model` and `schedule`; `train` runs it with the callbacks `seeding`, `metrics_log` and `step_rate`. The
result is a folder that `run_folder` reads: `average` takes the mean of several, `export` writes the artefacts.
"""
