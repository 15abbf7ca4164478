"""What the notebooks need and the mechanism never imports."""
