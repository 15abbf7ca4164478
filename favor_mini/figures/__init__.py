"""Figures of the notebooks, the demo and the lab."""
