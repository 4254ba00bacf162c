"""The classifier's versions: build, publish, roll back and retire them."""
