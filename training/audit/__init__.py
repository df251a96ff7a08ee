"""The judge of shortcuts: what is left of a model's accuracy on films taken otherwise.

`models` opens model stores and run folders with the films that they have not learned from; `measures` scores those
under each counterfactual; `nuisance` measures how much of the label shows without lungs; `audit` runs it all, and
`report` writes Markdown and plots.
"""
