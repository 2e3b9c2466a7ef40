"""What processes say to each other: messages, versions, errors, and the door they come in by."""
