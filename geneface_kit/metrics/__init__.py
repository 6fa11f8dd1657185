"""Metrics: formulas and measuring networks; arrays in, a number or "not measured" out."""
