"""What a master reads back from its journal."""
