"""Where a classifier's weights come from, and how they become a SavedModel."""
