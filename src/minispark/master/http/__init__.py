"""The REST API and the web pages of the master."""
