"""The paper's benchmark: reading its published test-set files and asking a model what they hold."""
