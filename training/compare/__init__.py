"""Runs side by side, on the films that they held out.

`compare` scores runs into `scores`, a table and a JSON file, worst counterfactual first. `ablate` trains and compares
the variants of a recipe, `resolution` weighs resolution against time, `reproduce` trains the shipped recipe again and
checks that its score falls within the reported spread.
"""
