"""What every store that goes through obstore needs."""
