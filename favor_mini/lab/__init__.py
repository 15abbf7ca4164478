"""The laboratory: variants of the mechanism's parts, their contracts, and paired comparisons.

Importing it registers the variants.
"""

from . import variants as variants
