"""Figures and the one-file report: they show numbers that other rooms computed, and compute none."""
