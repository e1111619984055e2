"""What was fetched, kept on a disk."""
