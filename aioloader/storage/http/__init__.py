"""Objects on web servers, and the HTTP client that S3 is read with too."""
