"""One segment to one presigned URL: body, PUT, and its answer as a receipt or an error."""
