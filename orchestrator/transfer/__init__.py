"""The transfer of one segment to one presigned URL: body, PUT, and the answer as a receipt or an error."""
