"""Mini-AVEB: the eleven tasks of the paper's benchmark on the mini world, and its published test-set files with media of one's own."""
