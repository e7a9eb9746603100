"""Public data sets, read in their official layout."""
