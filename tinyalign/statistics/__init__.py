"""Exact intervals, e-processes, paired tests, multiplicity and planning: numbers in, numbers out."""
