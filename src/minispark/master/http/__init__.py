"""Routes and pages of the master."""
