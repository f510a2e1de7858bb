"""The executable specification of ext4's buffered write paths."""
