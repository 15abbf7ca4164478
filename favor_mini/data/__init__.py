"""The features of clips, computed by the frozen encoders and kept on disk."""
