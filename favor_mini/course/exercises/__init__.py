"""The exercises, one file a notebook: each trial draws random sizes and says which mistake it suspects."""
