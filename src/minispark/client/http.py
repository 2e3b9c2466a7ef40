"""The HTTP client, under the name where users look for it."""
