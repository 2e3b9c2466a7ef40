"""What a master reads from its journal."""
