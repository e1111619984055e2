"""What is put around a store: retry, resume, hedging, pace, coalescing; the same for all."""
