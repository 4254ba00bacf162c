"""Where a classifier's weights come from, and how each becomes a SavedModel."""
