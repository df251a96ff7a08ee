"""The input gate: pictures that measure it, what it learns from training films, and what it is worth.

May import every sub-package before it.
"""
