"""What every report is made of: measures with intervals, and plots.

`metrics` has pure functions of labels, scores and decisions; `plots` draws them as PNG files. Labels and scores come
in, numbers go to the JSON files, pictures to the folder of a report.
"""
