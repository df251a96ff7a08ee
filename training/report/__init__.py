"""The report of the shipped model, and its card.

`report` measures the model on the films that its run held out (`measures`) and writes model_store/report/*.json; `card`
renders MODEL_CARD.md from these files through the template model_card.md.j2.
"""
