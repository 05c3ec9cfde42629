"""A package as somebody else would write it, with a part for each plug; docs/extend.md shows its files."""
