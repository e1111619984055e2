"""The side of a race that runs inside a competitor's own environment: one process, one epoch, one JSON result."""
