"""What the hotline says next: the client of the served dialogue model."""
