"""Rows to train on: the features of clips, from any source."""
