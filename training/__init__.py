"""From a labelled folder of chest films to the artefacts that are served.

Sub-packages, each of which imports only those before it:

    figures        measures with intervals, tables, plots
    data           films on disk: find, decode, split, describe
    changes        films taken otherwise: corruptions, counterfactuals
    learn          recipe, learning, run folder, export
    evaluate       the shipped artefact: scoring, calibration, cross-fitting
    compare        runs side by side, ablation, reproduction
    audit          the judge of shortcuts
    site           validation and recalibration on a site's films
    report         the measures of the model card, and the card
    presentation   the network that recognises negatives and turned films
    gate           the input gate: its fit, its measures, and the pictures for them

`cli`, `errors` and `files` are for all of them. Imports `handler` for its decoding and its contract: what the server
sees is what the trainer saw.
"""

from handler.torchvision_operators import declare_missing

declare_missing()
