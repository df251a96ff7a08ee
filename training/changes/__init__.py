"""Films taken otherwise: the changes that models are judged and calibrated under.

`corruptions` are fixed changes in two severities. `counterfactuals` exchange framing, marks and look between films,
with `framing` to find the chest. Decoded films go in, films of the same shape come out; nothing here knows of a model.
"""
