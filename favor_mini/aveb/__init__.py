"""The audio-visual evaluation benchmark: readers of the published test-set files."""
