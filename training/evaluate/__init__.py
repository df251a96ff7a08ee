"""The shipped artefact on films: what it answers, how it is calibrated, and what that is worth.

`evaluate` scores films through the code of the server and shares nothing with the learning. `calibrate` writes the
contract from films held out; `cross_fit` judges calibration and thresholds on patients they were not chosen on.
`reference`, `official_test`, `adults`, `invariance` and `parity` each put one question to the artefact.
"""
