"""Mini-AVEB, the eleven tasks of the paper's benchmark; and its published test-set files."""
