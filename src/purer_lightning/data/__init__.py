"""Data sets on disk, the readers that prepare them, and the episodes that are drawn from them."""
