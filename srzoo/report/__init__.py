"""Results to look at: comparisons as a page, as a figure."""
