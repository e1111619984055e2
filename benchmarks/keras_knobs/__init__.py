"""What Keras' three knobs do, measured: one question a file, one backend a process."""
