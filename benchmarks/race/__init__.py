"""The harness: data, bucket, environments, runs, and the tables made of them."""
