"""What a site's own films say of the shipped model, and a model store recalibrated to the site.

`validate` scores the site's films, `recommend` chooses calibration and thresholds for a wanted sensitivity, `verdict`
compares with the contract, `report` writes the page, `store` the new model store.
"""
