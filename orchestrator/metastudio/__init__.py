"""The service's training-job API: signing, tokens, wire models and the client."""
