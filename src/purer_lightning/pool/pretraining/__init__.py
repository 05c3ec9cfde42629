"""Makes teachers from a data set of one's own. The only room of the package that sees what teachers are trained on."""
