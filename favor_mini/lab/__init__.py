"""The laboratory: variants of the mechanism's parts, a contract that tells what a part really does, paired comparisons.

Importing it enters the variants in the registry.
"""

from . import variants as variants
