"""From a labelled folder of chest films to the artefacts that are served.

Imports `handler` for its decoding and its contract: what the server sees is what the trainer saw.
"""

from handler.torchvision_operators import declare_missing

declare_missing()
