"""Ask a model questions with known answers: accuracies, intervals and metrics."""
